"""An audit as text: the verdict first, then what stands out and how to mend it, then the tables."""

import textwrap
from functools import partial

import pandas as pd
from rich.console import Console
from rich.text import Text

from aigid.core import escape
from aigid.core.console import print_tables
from aigid.data.audit import ALL_FEATURES, Association, Audit, DuplicateGroups, SubsetResult
from aigid.data.audit.findings import LEVELS, format_interval

STYLES = {"leaks": "bold red", "suspicious": "bold yellow", "undecided": "bold yellow", "clean": "bold green"}
EMPTY = "-"
MAX_UNREADABLE = 20


def title_line(audit: Audit) -> str:
    """Return the verdict and its reason, in a line."""
    container = audit.parts[0].container
    if audit.verdict in LEVELS:
        reason = audit.findings[0].text
    elif audit.verdict == "undecided":
        too_few = f"{audit.parts[0].num_independent} independent images of a class are too few to tell"
        reason = "; ".join([too_few, *audit.parts[0].omitted])
    elif all(feature.p == 1 for feature in container):
        reason = "every image has the same container, so that it cannot tell generated from real"
    else:
        auroc = format_interval(container[0])
        reason = f"nothing in the container tells generated from real; all of it together has AUROC {auroc}"
    return escape.terminal(f"{audit.verdict}: {reason}")


def summary_lines(audit: Audit, dataset: str) -> list[str]:
    """Return a line for each finding that a reader of results on this dataset has to know."""
    return [escape.terminal(f"{dataset}: {finding.text}") for finding in audit.findings if finding.level != "note"]


def tables(audit: Audit) -> dict[str, pd.DataFrame]:
    """Return every table that has a row, by title, all cells text."""
    total = audit.parts[0]
    result = {
        "Container: AUROC of what must not know the label": _features(total.container),
        f"Shallow cues: AUROC of the floor, on {audit.num_sampled} images": _features(total.shallow),
        "By split and generator": pd.DataFrame([_part(part) for part in audit.parts]),
        "Images": _images(audit),
        "Copies": pd.DataFrame([_duplicates(copies) for copies in audit.copies]),
        "Cannot be read": pd.DataFrame(
            [(escape.terminal(image.path), image.status, image.message) for image in audit.unreadable[:MAX_UNREADABLE]],
            columns=["path", "status", "reason"],
        ),
    }
    return {title: table for title, table in result.items() if len(table)}


def print_audit(audit: Audit, console: Console) -> None:
    """Print the audit."""
    wrap = partial(textwrap.fill, width=console.width, subsequent_indent="  ", break_on_hyphens=False)
    console.print(Text(wrap(title_line(audit)), style=STYLES[audit.verdict]))
    for line in _lines(audit):
        console.print(Text(wrap(line)))
    print_tables(tables(audit), console)


def _lines(audit: Audit) -> list[str]:
    """Return the findings that the title does not tell, each remedy after the last that it mends."""
    lines = []
    for index, finding in enumerate(audit.findings):
        if index or audit.verdict not in LEVELS:
            lines.append(escape.terminal(f"- {finding.level}: {finding.text}"))
        if finding.mend and finding.mend not in [later.mend for later in audit.findings[index + 1 :]]:
            lines.append(f"- to mend it: {finding.mend}")
    return lines


def _features(family: list[Association]) -> pd.DataFrame:
    """Return the family, then its features from the highest AUROC down, then in one row those with one value."""
    varying = sorted((row for row in family if row.p < 1), key=lambda row: (row.feature != ALL_FEATURES, -row.auroc))
    rows = [(row.feature, format_interval(row), row.real or EMPTY, row.fake or EMPTY) for row in varying]
    constant = [row.feature for row in family if row.p == 1 and row.feature != ALL_FEATURES]
    if constant:
        rows.append((", ".join(constant), "0.500", "one value", "the same"))
    return pd.DataFrame(rows, columns=["feature", "AUROC", "real", "generated"])


def _part(part: SubsetResult) -> dict[str, str]:
    single = [row for row in part.container if row.feature != ALL_FEATURES and row.p < 1]
    best = max(single, key=lambda row: row.auroc, default=None)
    cells = {"part": part.name if part.kind == "all" else f"{part.kind} {part.name}"}
    cells |= {"real": str(part.num_real), "generated": str(part.num_fake), "independent": str(part.num_independent)}
    cells["container"] = format_interval(part.container[0]) if part.container else EMPTY
    cells["its best feature"] = f"{best.feature} {format_interval(best)}" if best else EMPTY
    return cells | {"shallow cues": format_interval(part.shallow[0]) if part.shallow else EMPTY}


def _duplicates(copies: DuplicateGroups) -> dict[str, str]:
    cells = {"copies": copies.kind, "across": copies.across}
    cells["images"] = f"{copies.num_images} of {copies.num_searched}"
    return cells | {"such as": escape.terminal("; ".join(" = ".join(paths) for paths in copies.examples))}


def _images(audit: Audit) -> pd.DataFrame:
    counts = pd.DataFrame([(c.split, c.generator, c.num_images) for c in audit.counts], columns=["split", "by", "num"])
    table = counts.pivot_table(index="by", columns="split", values="num", aggfunc="sum", fill_value=0)
    order = [split for split in ("train", "val", "test") if split in table]
    return table[order].astype(str).rename_axis("generator", axis=0).rename_axis(None, axis=1).reset_index()
