"""What an attacker can do to a detector: by gradients, by transfer, by edits, by an autoencoder, and by a patch.

Attacked images are judged as files are: by Pillow's preprocessing and the bundle's own encoder, such as 8-bit ONNX.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from aigid.aligned.pairs import psnr
from aigid.core import seeding
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.data.audit.audit import priorities, sample
from aigid.degradations import views
from aigid.detectors import bundle
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import open_dataset
from aigid.experiments import image_edits
from aigid.images import Pixels
from aigid.metrics import classification, intervals
from aigid.metrics.decisions import GENERATED, REAL, UNCERTAIN
from aigid.prediction import verdict
from aigid.prediction.inspection import inspect
from aigid.prediction.predict import Predictor

DETECTOR, SURROGATE = "detector", "surrogate"
SIDES = {REAL: -1, UNCERTAIN: 0, GENERATED: 1}
METRICS = ("auroc", "tpr_at_fpr5", "shift", "wrong", "uncertain")
COLUMNS = [
    *("source", "target", "attack", "strength", "images", "counted_as", "num"),
    *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
    "psnr",
]
N_BOOTSTRAP = 500
Epsilon = Annotated[int, Field(ge=1, le=64)]
Source = Literal["detector", "surrogate"]
Share = Annotated[float, Field(gt=0, le=1)]
logger = logging.getLogger(__name__)


class AttackSettings(Settings):
    """The attacked detector, the attacker's own, and the strengths."""

    detector: str
    backbone: str  # of the attacker's own detector, the surrogate: a probe on its embeddings of the training images
    dataset: str
    c: Annotated[float, Field(gt=0)] = 0.001  # of the surrogate
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = ("detector", "surrogate")
    max_images: Annotated[int, Field(ge=2)] = 60  # test images of each class
    epsilons: Annotated[tuple[Epsilon, ...], Field(min_length=1)] = (1, 2, 4, 8)  # of L-inf, of 255
    steps: Annotated[int, Field(ge=1)] = 3  # of PGD for each epsilon, which goes on from the one before
    precision: Literal["float32", "bfloat16"] = "float32"  # of the gradients' encoder
    views: tuple[str, ...] = ("jpeg_chain", "resize_chain", "screenshot", "recapture")
    after: tuple[str, ...] = ("jpeg70",)  # what becomes of PGD's images on their way
    patches: tuple[Share, ...] = (0.05, 0.1, 0.25, 0.5)  # of a photograph's area that an autoencoder redraws


class ImageSample:
    """Readable test images of both classes: their rows, and pixels (H, W, 3) uint8 in the same order."""

    def __init__(self, table: pd.DataFrame, root: AnyPath, max_images: int, seed: int) -> None:
        test = np.flatnonzero((table["split"] == "test").to_numpy())
        rows = table.iloc[sample(table, test, priorities(table, seed), 2 * max_images)]
        read = [inspect(root / path) for path in rows["path"]]
        for image in read:
            if image.status != OK:
                logger.warning("%s: %s: not attacked", image.path, image.message or image.status)
        readable = np.array([image.status == OK for image in read], bool)
        self.table = rows[readable].reset_index(drop=True)
        self.pixels = [image.pixels for image in read if image.pixels is not None]
        self.digests = [image.sha256 for image in read if image.pixels is not None]
        self.labels = self.table["label"].to_numpy(np.int64)
        self.groups = intervals.group_names(self.table)
        if set(self.labels.tolist()) != {0, 1}:
            raise InputError(f"{root}: its readable test images lack reals or fakes: nothing to attack")


class Target:
    """A detector as files meet it; ``clean`` are its scores (N,) of the images as they are."""

    def __init__(self, name: str, predictor: Predictor, images: ImageSample) -> None:
        self.name, self.predictor, self._images = name, predictor, images
        self.threshold = float(predictor.operating_point["threshold"])

    @cached_property
    def clean(self) -> NDArray[np.float64]:
        return self.score(self._images.pixels)

    def score(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """Return P(generated) (N,) of images."""
        return np.asarray(self.predictor.scorer.score_pixels(images, self.predictor.loader), np.float64)

    def side(self, score: float) -> int:
        """Return -1 for the verdict real, 0 for uncertain, 1 for generated."""
        return SIDES[verdict.decide(score, self.predictor.rule).verdict]


class Variant(NamedTuple):
    """The images at ``rows`` (n,) after an attack; ``counted_as`` is their label now, None where each keeps its own."""

    attack: str
    strength: float | str
    pixels: list[Pixels]
    rows: NDArray[np.int64]
    counted_as: int | None = None
    source: str = ""


def surrogate(
    table: pd.DataFrame, manifest: Path, embeddings: Path, settings: AttackSettings, seed: int, out: Path
) -> None:
    """Write the bundle of the attacker's own probe on the embeddings of a manifest's training images."""
    samples = open_dataset(table, [embeddings])
    section = LinearProbe.Settings(backbone=settings.backbone, dataset=settings.dataset, c=[settings.c])
    probe = LinearProbe.fit(section, samples.split("train"), samples.split("val"), seed)
    origin = bundle.provenance_of(settings.dataset, manifest, samples, probe, demonstration=False)
    saved = section.model_dump(mode="json"), samples.fingerprints, origin, bundle.validate(probe, samples)
    bundle.save(bundle.Bundle("probe", probe, *saved), out)


def study(
    images: ImageSample, predictors: Mapping[str, Predictor], autoencoder: Any, settings: AttackSettings, seed: int
) -> pd.DataFrame:
    """Return ``COLUMNS``, a row for each attack, its source, the target and the class of the images.

    Of class ``images`` the attacked ones, ``num`` in number, are ranked against the other class as it is, or, counted
    as generated, against the photographs: AUROC and TPR at 5 % FPR. ``shift`` is the mean change of the score,
    ``wrong`` the share on the wrong side of the operating point, ``uncertain`` of verdicts that abstain; all with
    95 % intervals. What PGD makes of a detector by its own gradients is also turned to abstention, and saved again.
    """
    targets = [Target(name, predictor, images) for name, predictor in predictors.items()]
    rows: list[dict[str, Any]] = []
    for variant in chain(_edits(images, autoencoder, settings, seed), _gradient_attacks(images, targets, settings)):
        for target in targets:
            rows += _measure(variant, target, images, seed)
            if target.name == variant.source and variant.attack == "pgd":
                for changed in _follow_up(variant, target, images, settings, seed):
                    rows += _measure(changed, target, images, seed)
    return pd.DataFrame(rows, columns=COLUMNS)


def _edits(images: ImageSample, autoencoder: Any, settings: AttackSettings, seed: int) -> Iterator[Variant]:
    every, reals = np.arange(len(images.labels)), np.flatnonzero(images.labels == 0)
    yield Variant("none", "", images.pixels, every)
    for view in settings.views:
        yield Variant(view, "", _view(view, images.pixels, images, seed), every)
    redrawn = [image_edits.reconstruct(autoencoder, pixels) for pixels in images.pixels]
    yield Variant("autoencoder", "", redrawn, every, 1)
    for share in settings.patches:
        pasted = [
            image_edits.paste_patch(images.pixels[row], redrawn[row], share, images.digests[row], seed) for row in reals
        ]
        yield Variant("patch", share, pasted, reals, 1)


def _gradient_attacks(images: ImageSample, targets: Sequence[Target], settings: AttackSettings) -> Iterator[Variant]:
    from aigid.experiments import gradient_attack  # torch
    from aigid.prediction.differentiable import differentiable_logit

    by_name, every = {target.name: target for target in targets}, np.arange(len(images.labels))
    for source in settings.sources:
        logit, directions = differentiable_logit(by_name[source].predictor), 1.0 - 2 * images.labels
        half = settings.precision == "bfloat16"
        moved = gradient_attack.attack(logit, images.pixels, directions, settings.epsilons, settings.steps, half)
        for (name, epsilon), pixels in moved.items():
            yield Variant(name, epsilon, pixels, every, source=source)


def _follow_up(
    variant: Variant, target: Target, images: ImageSample, settings: AttackSettings, seed: int
) -> Iterator[Variant]:
    """Yield mixtures with the clean images that the target abstains on, where there are any, and views of an attack."""
    mixed = image_edits.bisect(images.pixels, variant.pixels, images.digests, seed, target.score, target.side)
    yield variant._replace(attack=f"{variant.attack}, to uncertain", pixels=mixed)
    for view in settings.after:
        yield variant._replace(attack=f"{variant.attack}, {view}", pixels=_view(view, variant.pixels, images, seed))


def _view(view: str, pixels: Sequence[Pixels], images: ImageSample, seed: int) -> list[Pixels]:
    return [views.apply(view, image, digest, seed)[0] for image, digest in zip(pixels, images.digests, strict=True)]


def _measure(variant: Variant, target: Target, images: ImageSample, seed: int) -> Iterator[dict[str, Any]]:
    scores, labels = target.score(variant.pixels), images.labels[variant.rows]
    noise = [_psnr(images.pixels[row], pixels) for row, pixels in zip(variant.rows, variant.pixels, strict=True)]
    for label, name in enumerate((REAL, GENERATED)):
        if not (chosen := labels == label).any():
            continue
        rows, after = variant.rows[chosen], scores[chosen]
        truth = label if variant.counted_as is None else variant.counted_as
        others = np.flatnonzero(images.labels == 1 - truth)
        groups = images.groups[rows]
        wrong = (after <= target.threshold) == (truth == 1)
        unsure = np.array([target.side(score) == 0 for score in after])
        values = {
            **_ranking(after, target.clean[others], truth, np.concatenate([groups, images.groups[others]]), seed),
            "shift": _mean(after - target.clean[rows], groups, seed),
            "wrong": intervals.Interval(float(wrong.mean()), *intervals.wilson_interval(wrong, groups)),
            "uncertain": intervals.Interval(float(unsure.mean()), *intervals.wilson_interval(unsure, groups)),
        }
        yield {
            "source": variant.source, "target": target.name, "attack": variant.attack, "strength": variant.strength,
            "images": name, "counted_as": (REAL, GENERATED)[truth], "num": len(rows),
            "psnr": np.mean([value for value, of_class in zip(noise, chosen, strict=True) if of_class]),
            **{f"{key}{end}": part for key, value in values.items()
               for end, part in zip(("", "_low", "_high"), value, strict=True)},
        }  # fmt: skip


def _psnr(clean: Pixels, pixels: Pixels) -> float:
    return psnr(clean, pixels) if clean.shape == pixels.shape else np.nan


def _ranking(
    after: NDArray[np.floating], others: NDArray[np.floating], truth: int, groups: NDArray[Any], seed: int
) -> dict[str, intervals.Interval]:
    """Return AUROC and TPR at 5 % FPR of attacked images of a class among others of the other class."""
    scores = np.concatenate([after, others])
    labels = np.concatenate([np.full(len(after), truth), np.full(len(others), 1 - truth)])
    rng = np.random.default_rng(seeding.derive_seed("attack", seed))
    draws = intervals.bootstrap(intervals.population(labels, scores, None, groups), N_BOOTSTRAP, rng)
    ranking, num = classification.rank(labels, scores), intervals.num_independent(labels, groups)
    return {
        name: intervals.Interval(classification.RANKED[name](ranking), *intervals.interval(draws[name][:, 0], num))
        for name in METRICS[:2]
    }


def _mean(values: NDArray[np.floating], groups: NDArray[Any], seed: int) -> intervals.Interval:
    """Return the mean of values (N,) and its interval over bootstrap draws of whole groups."""
    clusters = intervals.number_clusters(groups)
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    rng = np.random.default_rng(seeding.derive_seed("attack", seed))
    counts = intervals.resample(np.zeros(len(sizes), np.int64), N_BOOTSTRAP, rng)
    draws = np.concatenate([chunk @ sums / (chunk @ sizes) for chunk in counts])
    return intervals.Interval(float(values.mean()), *intervals.interval(draws, len(sizes)))
