"""The reproduction ledger: every number that a paper publishes, beside ours or what ours would need.

``ledger.csv`` holds the published ones, a line each; ``key`` is the metric's name in
``results/metrics/<detector>/<dataset>.json``. A line without a detector is a variant that no default run holds.
"""

import json
from importlib.resources import files
from pathlib import Path

import pandas as pd

from aigid.core.files import write_text

INTRO = """# Reproduction ledger

What the papers publish, beside what this run measured under the same protocol. A number is ours only where the
paper's own data and backbone were there to measure it; else the line says what is missing. The commands are run in the
repository's root. No line is filled in from a smaller or a similar experiment.
"""


def published_values() -> pd.DataFrame:
    """``method, paper, protocol, number, published, detector, dataset, key, needs, command``, a row a number."""
    with files("aigid.report").joinpath("ledger.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


def our_value(row: pd.Series, root: Path) -> str:
    """Our number for a published one, or why there is none."""
    path = root / "metrics" / row["detector"] / f"{row['dataset']}.json"
    if not row["detector"] or not path.is_file():
        return f"not run: needs {row['needs']}"
    value = json.loads(path.read_text(encoding="utf-8")).get(row["key"])
    return f"not run: {path.as_posix()} has no {row['key']}" if value is None else f"{value:.4f}"


def markdown(table: pd.DataFrame, root: Path) -> str:
    """The ledger as a page, one table a paper and protocol."""
    parts = [INTRO]
    for (paper, protocol), rows in table.groupby(["paper", "protocol"], sort=False):
        parts.append(f"## {paper}: {protocol}\n")
        lines = ["| method | number | published | ours | command |", "| --- | --- | --- | --- | --- |"]
        for _, row in rows.iterrows():
            cells = (row["method"], row["number"], row["published"], our_value(row, root), f"`{row['command']}`")
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def write(root: Path, out: Path) -> None:
    """Write ``ledger.md`` into ``out`` from the metrics below ``root``."""
    write_text(out / "ledger.md", markdown(published_values(), root))
