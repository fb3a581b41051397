"""The reproduction ledger: every number that a paper publishes, beside ours.

``results/ledger/*.csv`` hold them, a row each: paper, source and locator, method, dataset, subset, metric, value,
tolerance, note, the command that gives ours, and its status: ``reproduced``, ``differs``, or ``not run: needs X``.
``key`` is our metric's name in ``results/metrics/<detector>/<dataset>.json``; a row without a detector is of one that
no default run has, so that only its scores file can be judged.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError, parse_json
from aigid.core.files import write_text
from aigid.core.tables import pipe_table

COLUMNS = (
    *("paper", "source", "locator", "method", "dataset", "subset", "metric", "value", "tolerance"),
    *("note", "detector", "key", "command", "status"),
)
REPRODUCED, DIFFERS, NOT_RUN = "reproduced", "differs", "not run: needs "
DISPLAYED = ["method", "subset", "metric", "value", "status"]
INTRO = """# Reproduction ledger

What papers publish, beside what this run measured under the same protocol, from `results/ledger/*.csv`. A number is
ours only where the paper's own data and backbone were there to measure it: it is *reproduced* within the tolerance that
its row states, else it *differs*; else the row says what is missing. No row is filled in from a smaller or a similar
experiment. Commands are run in the repository's root.

Papers often run older detectors again, with settings and weights of their own, and print the result under their names.
Figures of GenDet and of UnivFD (the linear probe of Ojha et al.) that differ between papers are mostly such: DRCT's
authors ran every method of their GenImage table again (https://github.com/beibuwandeluori/DRCT/issues/5), AIGIBench
trains its methods anew, DDA recompresses the fakes. Compare within a table, not across; notes say where it is so.
"""


def read(folder: Path) -> pd.DataFrame:
    """Return the rows of all files of a folder with ``COLUMNS``, text but ``value`` and ``tolerance``."""
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InputError(f"{folder}: no .csv file of published numbers")
    return pd.concat(map(_read, paths), ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    table = tables.to_numeric(tables.read(path, COLUMNS), ("value", "tolerance"), path)
    tables.refuse(table, "value", ~np.isfinite(table["value"]), "want a number", str(path))
    tables.refuse(table, "tolerance", ~table["tolerance"].between(0, 1e9), "want a number from 0", str(path))
    known = table["status"].isin((REPRODUCED, DIFFERS)) | table["status"].str.match(f"{NOT_RUN}.")
    tables.refuse(table, "status", ~known, f"want {REPRODUCED}, {DIFFERS}, or {NOT_RUN}X", str(path))
    return table


def measured(row: pd.Series, results: Path) -> float | str:
    """Return our number for a published one, or ``not run: needs X``."""
    path = results / "metrics" / row["detector"] / f"{row['dataset']}.json"
    if not row["detector"] or not path.is_file():
        needs = row["status"] if row["status"].startswith(NOT_RUN) else f"{NOT_RUN}{path.as_posix()}"
        return str(needs)
    try:
        value = parse_json(path.read_text(encoding="utf-8")).get(row["key"])
        return f"{NOT_RUN}{row['key']} in {path.as_posix()}" if value is None else float(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no metrics, {row['key']!r} among them: {error}") from None


def status(row: pd.Series, ours: float | str) -> str:
    """Return the status of a row by our number, or what lacks for one."""
    if isinstance(ours, str):
        return ours
    return REPRODUCED if abs(ours - row["value"]) <= row["tolerance"] else DIFFERS


def write(results: Path, out: Path) -> None:
    """Write ``ledger.md`` into ``out`` from ``results/ledger`` and ``results/metrics``, a table a paper and locator."""
    table = read(results / "ledger")
    ours = [measured(row, results) for _, row in table.iterrows()]
    known = [status(row, value) for (_, row), value in zip(table.iterrows(), ours, strict=True)]
    table["needs"] = [text.removeprefix(NOT_RUN) if text.startswith(NOT_RUN) else "" for text in known]
    table["status"] = [
        "not run" if isinstance(value, str) else f"{text}: {value:.4f}" for value, text in zip(ours, known, strict=True)
    ]
    counts = pd.Series([text.partition(":")[0] for text in known]).value_counts()
    total = ", ".join(f"{num} {name}" for name, num in sorted(counts.items()))
    parts = [f"{len(table)} numbers: {total}.\n"]
    for (paper, source, locator), rows in table.groupby(["paper", "source", "locator"], sort=False):
        noted = rows[rows["note"] != ""].groupby("note", sort=False)
        lines = [f"- {_methods(part)}: {part['note'].iloc[0]}" for _, part in noted]
        for (command, needs), part in rows.groupby(["command", "needs"], sort=False):
            lines += [f"- {_methods(part)}: `{command}`" + (f"; needs {needs}" if needs else "")]
        title = f"## {paper}: {locator}\n\n{source}\n"
        parts.append("\n".join([title, *lines, "", pipe_table(rows[DISPLAYED]), ""]))
    write_text(out / "ledger.md", INTRO + "\n" + "\n".join(parts))


def _methods(rows: pd.DataFrame) -> str:
    names = list(dict.fromkeys(rows["method"]))
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} and {len(names) - 1} others"
