"""From measurements to a verdict: what stands out, how bad it is, how to mend it."""

from collections.abc import Iterator

from aigid.data.audit.schema import ALL_FEATURES, Association, Audit, Count, DuplicateGroups, Finding, SubsetResult
from aigid.images.errors import Unreadable

LEVELS = ("leaks", "suspicious", "note")
ERROR = 0.05  # chance that any container feature of an honest dataset is called proven, over all parts
MIN_GROUPS_PER_CLASS = 5  # independent images of a class; fewer may be told apart by chance
WARN_AUROC = 0.55  # AUROC of the container from which a proven tie is worth a word
AUROC_TOLERANCE = 0.02  # AUROC within which the plainer of two explanations is told
MAX_DUPLICATE_SHARE = 0.01  # share of copies that makes a split or a label meaningless
MAX_IMBALANCE = 10  # images of one class for each of the other

Tie = tuple[SubsetResult, Association]

REENCODE = (
    "re-encode both classes alike: `aigid degrade MANIFEST --root ROOT --view normalize512 --out DIR`, then "
    "`aigid audit DIR/manifest.csv --root DIR`; what an old size or JPEG left in the pixels stays, and shows in the "
    "shallow cues"
)
RESPLIT = "keep one of each, or give them one `group` and one split"
RELABEL = "find out which label is right, and drop the others"
REGROUP = (
    "if the fakes were made from these photographs, name one `group` for each pair; if not, see which label is right"
)
REDOWNLOAD = "fetch them anew or drop their rows"
COPIES = {  # kind, across: what such images do, and the remedy
    ("exact", "splits"): ("stand in more than one split, byte for byte", RESPLIT),
    ("exact", "classes"): ("stand under both labels, byte for byte", RELABEL),
    ("exact", "nothing"): ("stand twice in one split and class, byte for byte", RESPLIT),
    ("near", "splits"): ("look like one in another split", RESPLIT),
    ("near", "classes"): ("look like one of the other class, in no common group", REGROUP),
    ("near", "group"): ("look like another of their group, as a photograph and the fakes made from it should", ""),
    ("near", "nothing"): ("look like another of their split and class", ""),
}


def build_audit(
    limit: float,
    num_sampled: int,
    counts: list[Count],
    parts: list[SubsetResult],
    copies: list[DuplicateGroups],
    straddling: list[str],
    unreadable: list[Unreadable],
) -> Audit:
    """The audit with its findings, gravest first, and the verdict that they amount to."""
    ties = significant_associations(parts)
    found = [
        *_of_container(ties, limit),
        *_of_copies(copies),
        *_of_groups(straddling),
        *_of_unreadable(unreadable, counts),
    ]
    found += [*_of_counts(counts), *_of_cues(parts[0]), *_inconclusive(parts, limit)]
    found.sort(key=lambda finding: LEVELS.index(finding.level))
    verdict = (
        found[0].level if found and found[0].level != "note" else "clean" if _predictive(parts[0]) else "undecided"
    )
    highest = max((tie.auroc for _, tie in ties), default=0.5)
    return Audit(verdict, highest, limit, num_sampled, counts, found, parts, copies, straddling, unreadable)


def significant_associations(parts: list[SubsetResult]) -> list[Tie]:
    """The container's ties to the label that chance does not explain, highest first.

    All ties of all parts share one ``ERROR`` (Bonferroni). Features with one value are no tie, and those that sort the
    images alike, such as format and JPEG table, or one generator in one split and all images, are one.
    """
    ties = [(part, tie) for part in parts for tie in part.container if tie.p < 1]
    num = len({(tie.auroc, tie.low, tie.p) for _, tie in ties})
    kept = [(part, tie) for part, tie in ties if tie.p * num < ERROR]
    return sorted(kept, key=lambda pair: -pair[1].auroc)


def _predictive(whole: SubsetResult) -> bool:
    """Whether a container that gives the label away would be found out."""
    return bool(whole.container) and (
        whole.num_independent >= MIN_GROUPS_PER_CLASS or all(tie.p == 1 for tie in whole.container)
    )


def format_interval(tie: Association) -> str:
    """``0.912 [0.898, 0.925]``, the number alone where there is nothing to doubt."""
    if tie.p == 1:
        return f"{tie.auroc:.3f}"
    return f"{tie.auroc:.3f} [{tie.low:.3f}, {tie.high:.3f}]"


def _of_container(ties: list[Tie], limit: float) -> Iterator[Finding]:
    if not ties or ties[0][1].auroc <= min(WARN_AUROC, limit):
        return
    beyond = [(part, tie) for part, tie in ties if tie.auroc > limit]
    part, tie = _clearest(beyond or ties)
    where = "" if part.kind == "all" else f" in {part.kind} {part.name}"
    who = "the container's features together tell" if tie.feature == ALL_FEATURES else f"{tie.feature} alone tells"
    what = f": real {tie.real}; generated {tie.fake}" if tie.real else ""
    side = f"above the limit {limit:g}" if beyond else f"within the limit {limit:g}"
    text = f"{who} generated from real{where} with AUROC {format_interval(tie)}, {side}{what}"
    yield Finding("leaks" if beyond else "suspicious", text, REENCODE)
    others = dict.fromkeys(other.feature for _, other in beyond if other.feature not in (ALL_FEATURES, tie.feature))
    if others:
        yield Finding("leaks", f"also above the limit, each alone: {', '.join(others)}", REENCODE)
    generators = dict.fromkeys(part.name for part, _ in beyond if part.kind == "generator")
    if generators:
        yield Finding("leaks", f"generators that the container gives away: {', '.join(generators)}", REENCODE)


def _clearest(ties: list[Tie]) -> Tie:
    """Of the highest ties one feature's before the family's, in all images before in a part, in their order."""
    near = [(part, tie) for part, tie in ties if tie.auroc > ties[0][1].auroc - AUROC_TOLERANCE]
    return min(
        near,
        key=lambda pair: (pair[1].feature == ALL_FEATURES, pair[0].kind != "all", pair[0].container.index(pair[1])),
    )


def _of_copies(copies: list[DuplicateGroups]) -> Iterator[Finding]:
    for one in copies:
        what, mend = COPIES[one.kind, one.across]
        share = one.num_images / one.num_searched
        level = "note" if one.across in ("group", "nothing") else "suspicious"
        if level == "suspicious" and share >= MAX_DUPLICATE_SHARE and (one.kind, one.across) != ("near", "classes"):
            level = "leaks"
        number = f"{one.num_images} of {one.num_searched} images ({100 * share:.1f} %)"
        yield Finding(level, f"{number} {what}, such as {' = '.join(one.examples[0])}", mend)


def _of_groups(straddling: list[str]) -> Iterator[Finding]:
    if straddling:
        text = f"{len(straddling)} groups stand in more than one split, such as {straddling[0]}"
        yield Finding("leaks", text, "give each group one split")


def _of_unreadable(unreadable: list[Unreadable], counts: list[Count]) -> Iterator[Finding]:
    if unreadable:
        reals = sum(count.num_unreadable for count in counts if count.generator == "real")
        split = f"{reals} real, {len(unreadable) - reals} generated"
        first = f"{unreadable[0].path}: {unreadable[0].status}"
        yield Finding("suspicious", f"{len(unreadable)} images cannot be read ({split}), such as {first}", REDOWNLOAD)


def _of_counts(counts: list[Count]) -> Iterator[Finding]:
    for split in dict.fromkeys(count.split for count in counts):
        own = [count for count in counts if count.split == split]
        reals, fakes = (sum(c.num_images for c in own if (c.generator == "real") == real) for real in (True, False))
        if min(reals, fakes) == 0:
            missing = "real" if reals == 0 else "generated"
            yield Finding("suspicious", f"split {split} has no {missing} image: nothing can be measured on it")
        elif max(reals, fakes) > MAX_IMBALANCE * min(reals, fakes):
            text = f"split {split} has {reals} real and {fakes} generated images: accuracy says little there"
            yield Finding("note", text, "judge by AUROC and balanced accuracy")


def _of_cues(whole: SubsetResult) -> Iterator[Finding]:
    for tie in whole.shallow[:1]:
        yield Finding(
            "note", f"shallow cues reach AUROC {format_interval(tie)}: a detector has to beat that to have seen more"
        )


def _inconclusive(parts: list[SubsetResult], limit: float) -> Iterator[Finding]:
    for part in parts:
        if part.skipped:
            yield Finding("note", f"{part.kind} {part.name}: not judged: {'; '.join(part.skipped)}")
    for tie in parts[0].container[:1]:
        if tie.auroc <= limit < tie.high:
            yield Finding("note", f"so few images cannot rule out that the container reaches AUROC {tie.high:.2f}")
