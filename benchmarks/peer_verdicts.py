"""Verdicts of `aigid predict` and of the package sahu65, on the same photographs: time, AUROC, errors, agreement.

python -m benchmarks.peer_verdicts DATA --sahu65 PYTHON [--timed 100] [--rounds 3]

DATA is the folder of `photos` with its manifest.csv, whose test images are judged; PYTHON is the interpreter of an
environment with sahu65, which pins older packages. Its command takes one image; its `detect` judges many in a process.
Of the package's own detector, some test images share their generators and sources with training; of sahu65's it is
not known what it learnt from.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.table import Table

import aigid
from aigid.core import manifest
from aigid.core.files import cache_folder, num_workers
from aigid.features import weights
from aigid.metrics import intervals
from benchmarks import record
from benchmarks.onnx import cpu_name
from benchmarks.predict import AIGID, seconds

OURS, THEIRS = "aigid predict", "sahu65"
VERDICTS = {"likely_real": "real", "inconclusive": "uncertain", "likely_ai": "generated"}  # theirs in our words
COMMAND = "import sys; from sahu65.cli import main; sys.exit(main())"
DETECT = """  # a line of JSON for each path
import json, sys
import sahu65
for path in sys.argv[1:]:
    detection = sahu65.detect(path)
    print(json.dumps([detection.ai_probability, detection.verdict]), flush=True)
"""


def judge(root: Path, table: pd.DataFrame, python: str) -> dict[str, pd.DataFrame]:
    """Return a row of ``probability`` and ``verdict`` for each image, by both."""
    paths = [str(root / path) for path in table["path"]]
    detector = aigid.load()
    ours = [(verdict.probability, verdict.verdict) for verdict in map(detector.predict, paths)]
    done = subprocess.run([python, "-c", DETECT, *paths], capture_output=True, text=True, check=True)
    theirs = [(p, VERDICTS[verdict]) for p, verdict in map(json.loads, done.stdout.splitlines())]
    both = {OURS: ours, THEIRS: theirs}
    return {name: pd.DataFrame(rows, columns=["probability", "verdict"]) for name, rows in both.items()}


def quality(table: pd.DataFrame, verdicts: pd.DataFrame) -> list[str]:
    """Return AUROC with its interval, and of both classes the shares called generated and uncertain."""
    labels, groups = table["label"].to_numpy(), table["group"].to_numpy()
    scores = verdicts["probability"].to_numpy(np.float64)
    auroc = intervals.auroc_intervals(labels, scores, groups, 0)[""]
    shares = [
        f"{(verdicts['verdict'][labels == label] == verdict).mean():.3f}"
        for verdict in ("generated", "uncertain")
        for label in (0, 1)
    ]
    return [str(auroc), *shares]


def times(paths: list[str], python: str, rounds: int) -> dict[tuple[str, str], np.ndarray]:
    """Return median seconds by the clock and of the processor of one image and of all, by both, in turn."""
    every = f"{len(paths)} images"
    programs = {
        (OURS, "one image"): (*AIGID, "predict", paths[0]),
        (THEIRS, "one image"): ("-c", COMMAND, "detect", paths[0]),
        (OURS, every): (*AIGID, "predict", *paths),
        (THEIRS, every): ("-c", DETECT, *paths),
    }
    measured: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in programs}
    for _ in range(rounds):
        for key, arguments in programs.items():
            with tempfile.TemporaryDirectory() as cache:
                (Path(cache) / weights.FOLDER).symlink_to(cache_folder() / weights.FOLDER)
                program = python if key[0] == THEIRS else sys.executable
                measured[key].append(seconds(*arguments, cache=Path(cache), python=program))
    return {key: np.median(rows, axis=0) for key, rows in measured.items()}


@click.command(help=__doc__)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sahu65", "python", required=True, help="A Python that has it.")
@click.option("--timed", default=100, show_default=True, help="Images that are timed.")
@click.option("--rounds", default=3, show_default=True)
@record.out_option
def main(data: Path, python: str, timed: int, rounds: int, out: Path) -> None:
    table = manifest.read(data / "manifest.csv").query("split == 'test'").reset_index(drop=True)
    verdicts = judge(data, table, python)
    order = np.random.default_rng(0).permutation(len(table))[:timed]
    measured = times([str(data / path) for path in table["path"].iloc[order]], python, rounds)
    columns = ("detector", "AUROC", "reals called generated", "fakes called generated", "reals uncertain")
    columns += ("fakes uncertain", "one image, s", "one image, CPU s", f"{timed} images, s", f"{timed} images, CPU s")
    agree = (verdicts[OURS]["verdict"] == verdicts[THEIRS]["verdict"]).mean()
    title = f"{cpu_name()}; {num_workers()} cores; {len(table)} test images; same verdict on {agree:.3f} of them"
    rich = Table(*columns, title=f"{title}; median of {rounds} rounds")
    for name, of_name in verdicts.items():
        cost = np.concatenate([pair for (who, _), pair in measured.items() if who == name])
        rich.add_row(name, *quality(table, of_name), *(f"{value:.2f}" for value in cost))
    record.publish(rich, "peer_verdicts", out, width=200)


if __name__ == "__main__":
    main()
