"""Does anything but the forgery tell generated images from real ones? An audit's records, the keys of its JSON."""

from dataclasses import dataclass
from pathlib import Path

from aigid.core import params
from aigid.core.errors import parse_json
from aigid.images import Unreadable

ALL_FEATURES = "all together"  # in place of a feature's name: the whole family


@dataclass(frozen=True)
class Association:
    """How well a feature alone, or its family ``ALL_FEATURES``, predicts the label: AUROC with its 95 % interval.

    ``p`` is the chance of so high a value where the feature says nothing. ``real`` and ``fake`` tell what the values
    of each class are.
    """

    feature: str
    auroc: float
    low: float
    high: float
    p: float
    real: str = ""
    fake: str = ""


@dataclass(frozen=True)
class SubsetResult:
    """All images, one split, or one generator with the reals of its splits (and of its ``source``, if it has one).

    ``num_independent`` counts the smaller class, a group as one image. A family is empty where ``omitted`` says why.
    """

    kind: str  # all, split, generator
    name: str
    num_real: int
    num_fake: int
    num_independent: int
    container: list[Association]
    shallow: list[Association]
    omitted: list[str]


@dataclass(frozen=True)
class DuplicateGroups:
    """Images that have an equal or similar one elsewhere.

    ``kind`` is ``exact`` (sha256, among all images) or ``near`` (perceptual hash, among the sample). ``across`` is
    ``splits``, ``classes``, ``group`` (near ones only: no fault, as in a real image and the fakes made from it) or
    ``nothing`` (same split and class).
    """

    kind: str
    across: str
    num_images: int
    num_searched: int
    examples: list[list[str]]


@dataclass(frozen=True)
class Count:
    """How many images a split has of a generator, and how many of them cannot be read."""

    split: str
    generator: str
    num_images: int
    num_unreadable: int


@dataclass(frozen=True)
class Finding:
    """One thing that stands out. ``level`` is ``leaks``, ``suspicious`` or ``note``; ``mend`` says what to do."""

    level: str
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Audit:
    """The examination of one dataset.

    ``verdict`` is ``clean``, ``suspicious``, ``leaks`` or ``undecided`` (too few images of a class to prove a thing).
    ``highest`` is the highest AUROC of a container feature, alone or together, in any part, that chance does not
    explain; 0.5 where chance explains all. ``limit`` is how high it may be.
    """

    verdict: str
    highest: float
    limit: float
    num_sampled: int
    counts: list[Count]
    findings: list[Finding]
    parts: list[SubsetResult]
    copies: list[DuplicateGroups]
    straddling: list[str]
    unreadable: list[Unreadable]

    @property
    def refused(self) -> bool:
        """Return whether the container tells too much."""
        return self.highest > self.limit


def read_audit(path: Path | str) -> Audit:
    """Return the audit in a JSON file; InputError where it is none."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        value = parse_json(text)
    except ValueError:
        value = text[:40]
    return params.validate(value, Audit, str(path))
