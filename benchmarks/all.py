"""Every bounded figure of the benchmarks in one table: `python -m benchmarks.all [--run NAME]... [--since REVISION]`.

With `--run` those benchmarks are measured first, one after the other; the others' tables are read as they lie in
results/benchmarks/. *Before* is the figure of the same cell in the last release, or in the table that was there before.
"""

import io
import operator
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd
from rich.table import Table

from benchmarks import record


class Claim(NamedTuple):
    """A cell of a benchmark's table, by the beginning of its first column, and the bound of its last number."""

    module: str
    table: str
    row: str
    column: str
    sign: str = ""
    bound: float = 0.0


SIGNS = {"<=": operator.le, ">=": operator.ge}
STEPS = ("index", "look up", "assemble", "evaluate")
RATIO, TIME, SHARE = "ratio", "times faster", "share"
CLAIMS = (
    Claim("verdict", "verdict", "aigid --help", "seconds", "<=", 0.1),
    Claim("verdict", "verdict", "aigid predict, one image", "seconds", "<=", 1.5),
    Claim("verdict", "verdict", "aigid predict, 100 images", "time / ONNX Runtime alone"),
    Claim("predict", "predict_start", "predict one", "time / loading", "<=", 1.15),
    Claim("predict", "predict", "predict", "without start: pace / extract's"),
    Claim("extract", "extract", "decode: fast", RATIO),
    Claim("extract", "extract", "decode: exact", RATIO),
    Claim("peers", "peers", "JPEGs of 512 px/aigid extract, decode: fast", "pace", ">=", 5.0),
    Claim("peers", "peers", "JPEGs of 3464 px/aigid extract, decode: fast", "pace", ">=", 3.0),
    Claim("peers", "peers", "clip_vit_b16_int8/aigid extract, one decoding", "pace", ">=", 0.9),
    Claim("onnx", "onnx_vnni", "ONNX Runtime int8", "pace to torch float32"),
    Claim("onnx", "onnx", "ONNX Runtime int8", "pace to torch float32"),
    *(Claim("scale", "scale", step, "ratio to 100,000", "<=", 1.3) for step in STEPS),
    *(Claim("scale", "scale", step, f"{10**7:,} rows: s a million, GB", "<=", 2.0) for step in STEPS),
    *(Claim("archives", "archives", kind, "extraction, of a folder's pace") for kind in ("tar", "zip")),
    Claim("ray_engine", "ray_engine", "two actors", "steady pace, ratio"),
    Claim("cluster", "cluster", "1 worker, 20 ms, 1% faults", "of the ideal", ">=", 0.8),
    Claim("cluster", "cluster", "16 workers, 20 ms, 1% faults", "by CPU time", ">=", 0.9),
    Claim("cluster", "cluster", "16 workers, 2 s", "of the ideal", ">=", 0.75),
    Claim("svm", "svm", "prediction by one", TIME),
    Claim("svm", "svm", "fit by nystroem", TIME),
    Claim("gendet", "gendet", "an epoch", "ratio of time", ">=", 0.85),
    Claim("featdistill_training", "featdistill_training", "64/1", SHARE, ">=", 0.7),
    Claim("pipeline", "pipeline", "stages' share", "CPU seconds", ">=", 0.85),
    Claim("pipeline", "pipeline", "dvc repro, nothing to do", "CPU seconds", "<=", 2.0),
    Claim("pipeline", "pipeline", "dvc status", "CPU seconds", "<=", 2.0),
    Claim("pipeline", "pipeline", "the stage report", "CPU seconds", "<=", 6.0),
    Claim("serve", "serve", "200", "p50 / bare model"),
)


def figure(table: pd.DataFrame | None, claim: Claim) -> tuple[str, pd.Series | None]:
    """The cell of a claim as it is written and its row; "" and None where the table has none."""
    if table is None or claim.column not in table:
        return "", None
    starts = claim.row.split("/") if "/" in claim.row else [claim.row]
    for _, row in table.iterrows():
        if all(str(cell).startswith(start) for cell, start in zip(row, starts, strict=False)):
            return str(row[claim.column]), row
    return "", None


def number(cell: str) -> float | None:
    """The last number of a cell."""
    digits = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", cell)
    return float(digits[-1]) if digits else None


def read(text: str) -> pd.DataFrame | None:
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False) if text.strip() else None


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def before(path: Path, since: str | None) -> pd.DataFrame | None:
    """A table in a revision; without one in the last tag, else as it was before its last commit."""
    revision = since or git("describe", "--tags", "--abbrev=0").strip()
    if not revision:
        commits = git("log", "-2", "--format=%h", "--", str(path)).split()
        same = git("show", f"HEAD:{path}") == path.read_text(encoding="utf-8")
        revision = commits[-1] if len(commits) == 2 and same else commits[0] if commits and not same else ""
    return read(git("show", f"{revision}:{path}")) if revision else None


@click.command(help=__doc__)
@click.option("--run", "names", multiple=True, type=click.Choice(sorted({claim.module for claim in CLAIMS})))
@click.option("--since", help="Tag or commit of the last release.")
@record.out_option
def main(names: tuple[str, ...], since: str | None, out: Path) -> None:
    for name in names:
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--out", str(out)], check=False).returncode:
            print(f"{name}: failed; its last table stands", file=sys.stderr)
    table = Table("benchmark", "what", "figure", "value", "before", "bound", "holds", "where", "measured")
    for claim in CLAIMS:
        path = out / f"{claim.table}.csv"
        current = read(path.read_text(encoding="utf-8")) if path.exists() else None
        cell, row = figure(current, claim)
        value, old = number(cell), figure(before(path, since), claim)[0] if path.exists() else ""
        holds = "" if not claim.sign or value is None else "yes" if SIGNS[claim.sign](value, claim.bound) else "no"
        bound = f"{claim.sign} {claim.bound:g}" if claim.sign else "-"
        origin = ("", "not measured") if row is None else (row["machine"], f"{row['date']}, {row['commit']}")
        table.add_row(claim.module, claim.row.replace("/", ": "), claim.column, cell, old, bound, holds, *origin)
    record.publish(table, "all", out, width=200)


if __name__ == "__main__":
    main()
