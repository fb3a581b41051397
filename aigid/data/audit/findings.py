"""From measurements to a verdict: what stands out, how bad it is, how to mend it."""

from collections.abc import Iterator

from aigid.data.audit import ALL_FEATURES, Association, Audit, Count, DuplicateGroups, Finding, SubsetResult
from aigid.images import Unreadable
from aigid.metrics.classification import MAX_REVERSED

LEVELS = ("leaks", "suspicious", "note")
ERROR = 0.05  # chance that any container feature of an honest dataset is called proven, over all parts
MIN_GROUPS_PER_CLASS = 5  # independent images of a class; fewer may be told apart by chance
WARN_AUROC = 0.55  # AUROC of the container from which a proven association is worth a word
AUROC_TOLERANCE = 0.02  # AUROC within which the plainer of two explanations is given
MAX_DUPLICATE_SHARE = 0.01  # share of copies that makes a split or a label meaningless
MAX_IMBALANCE = 10  # images of one class for each of the other

REENCODE = (
    "re-encode both classes alike: `aigid degrade MANIFEST --root ROOT --view normalize512 --out DIR`, then "
    "`aigid audit DIR/manifest.csv --root DIR`, where colors of any ICC profile become sRGB; what an old size or JPEG "
    "left in the pixels stays, and shows in the shallow cues"
)
RESPLIT = "keep one of each, or give them one `group` and one split"
RELABEL = "find out which label is right, and drop the others"
REGROUP = (
    "if the fakes were made from these photographs, name one `group` for each pair; if not, see which label is right"
)
MIXED = "see whether a part of the images has its labels the wrong way round, and whether each group is named one"
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
    """Return the audit with its findings, gravest first, and the verdict that they amount to."""
    significant = significant_associations(parts)
    findings = [*_of_container(significant, limit), *_of_copies(copies), *_of_groups(straddling)]
    findings += [*_of_unreadable(unreadable, counts), *_of_counts(counts), *_of_cues(parts[0])]
    findings += [*_reversed(parts), *_inconclusive(parts, limit)]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    if findings and findings[0].level != "note":
        verdict = findings[0].level
    else:
        verdict = "clean" if _has_power(parts[0]) else "undecided"
    highest = max((association.auroc for _, association in significant), default=0.5)
    return Audit(verdict, highest, limit, num_sampled, counts, findings, parts, copies, straddling, unreadable)


def significant_associations(parts: list[SubsetResult]) -> list[tuple[SubsetResult, Association]]:
    """Return the container's associations with the label that chance does not explain, highest first.

    All of them share one ``ERROR`` (Bonferroni). Features with one value do not count, and those that sort the images
    alike, such as format and JPEG table, or one generator in one split and all images, count once.
    """
    pairs = [(part, feature) for part in parts for feature in part.container if feature.p < 1]
    num_tests = len({(feature.auroc, feature.low, feature.p) for _, feature in pairs})
    return sorted((pair for pair in pairs if pair[1].p * num_tests < ERROR), key=lambda pair: -pair[1].auroc)


def _has_power(total: SubsetResult) -> bool:
    """Return whether a container that gives the label away would show."""
    constant = all(feature.p == 1 for feature in total.container)
    return bool(total.container) and (total.num_independent >= MIN_GROUPS_PER_CLASS or constant)


def format_interval(value: Association) -> str:
    """Return ``0.912 [0.898, 0.925]``, the number alone where there is nothing to doubt."""
    return f"{value.auroc:.3f}" + ("" if value.p == 1 else f" [{value.low:.3f}, {value.high:.3f}]")


def _of_container(pairs: list[tuple[SubsetResult, Association]], limit: float) -> Iterator[Finding]:
    if not pairs or pairs[0][1].auroc <= min(WARN_AUROC, limit):
        return
    beyond = [pair for pair in pairs if pair[1].auroc > limit]
    part, best = _clearest(beyond or pairs)
    subset = "" if part.kind == "all" else f" in {part.kind} {part.name}"
    together = best.feature == ALL_FEATURES
    subject = "the container's features together tell" if together else f"{best.feature} alone tells"
    values = f": real {best.real}; generated {best.fake}" if best.real else ""
    side = f"above the limit {limit:g}" if beyond else f"within the limit {limit:g}"
    text = f"{subject} generated from real{subset} with AUROC {format_interval(best)}, {side}{values}"
    yield Finding("leaks" if beyond else "suspicious", text, REENCODE)
    others = dict.fromkeys(other.feature for _, other in beyond if other.feature not in (ALL_FEATURES, best.feature))
    if others:
        yield Finding("leaks", f"also above the limit, each alone: {', '.join(others)}", REENCODE)
    generators = dict.fromkeys(part.name for part, _ in beyond if part.kind == "generator")
    if generators:
        yield Finding("leaks", f"generators that the container gives away: {', '.join(generators)}", REENCODE)


def _clearest(pairs: list[tuple[SubsetResult, Association]]) -> tuple[SubsetResult, Association]:
    """Return, of the highest, a feature before its family, one in all images before one in a part."""
    near = [pair for pair in pairs if pair[1].auroc > pairs[0][1].auroc - AUROC_TOLERANCE]
    return min(
        near,
        key=lambda pair: (pair[1].feature == ALL_FEATURES, pair[0].kind != "all", pair[0].container.index(pair[1])),
    )


def _of_copies(copies: list[DuplicateGroups]) -> Iterator[Finding]:
    for group in copies:
        text, mend = COPIES[group.kind, group.across]
        share = group.num_images / group.num_searched
        level = "note" if group.across in ("group", "nothing") else "suspicious"
        if level == "suspicious" and share >= MAX_DUPLICATE_SHARE and (group.kind, group.across) != ("near", "classes"):
            level = "leaks"
        number = f"{group.num_images} of {group.num_searched} images ({100 * share:.1f} %)"
        yield Finding(level, f"{number} {text}, such as {' = '.join(group.examples[0])}", mend)


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
        inside = [count for count in counts if count.split == split]
        reals, fakes = (sum(c.num_images for c in inside if (c.generator == "real") == real) for real in (True, False))
        if min(reals, fakes) == 0:
            missing = "real" if reals == 0 else "generated"
            yield Finding("suspicious", f"split {split} has no {missing} image: nothing can be measured on it")
        elif max(reals, fakes) > MAX_IMBALANCE * min(reals, fakes):
            text = f"split {split} has {reals} real and {fakes} generated images: accuracy says little there"
            yield Finding("note", text, "judge by AUROC and balanced accuracy")


def _of_cues(total: SubsetResult) -> Iterator[Finding]:
    for joint in total.shallow[:1]:
        text = f"shallow cues reach AUROC {format_interval(joint)}: a detector has to beat that to have seen more"
        yield Finding("note", text)


def _reversed(parts: list[SubsetResult]) -> Iterator[Finding]:
    """Yield a note on each family whose AUROC lies under chance with its whole interval: folds contradict others."""
    for part in parts:
        for family, joint in (("the container", part.container[:1]), ("shallow cues", part.shallow[:1])):
            for value in joint:
                if value.high < MAX_REVERSED:
                    text = f"{part.kind} {part.name}: AUROC {format_interval(value)} of {family} lies under chance"
                    text += ": what tells the classes apart in some images is reversed in others"
                    yield Finding("note", text, MIXED)


def _inconclusive(parts: list[SubsetResult], limit: float) -> Iterator[Finding]:
    for part in parts:
        if part.omitted:
            yield Finding("note", f"{part.kind} {part.name}: not judged: {'; '.join(part.omitted)}")
    for joint in parts[0].container[:1]:
        if joint.auroc <= limit < joint.high:
            yield Finding("note", f"so few images cannot rule out that the container reaches AUROC {joint.high:.2f}")
