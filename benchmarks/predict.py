"""`aigid predict` against importing torch and loading the encoder, and against `aigid extract` on the same images.

python -m benchmarks.predict [--images 1000]
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import click
import numpy as np
import pandas as pd
from rich.table import Table

from aigid.core import tables
from aigid.core.files import num_workers
from aigid.detectors import bundle
from aigid.detectors.bundle import Provenance
from aigid.detectors.probe import LinearProbe
from aigid.features.backbones import backbone_settings
from benchmarks import pictures, record

BACKBONE, WIDTH = "tiny_clip", 192
REFERENCE = "torch and the encoder, loaded"
LOADING = (
    "-c",
    "from aigid.features.backbones import backbone_settings; from aigid.features.encoder import load_encoder; "
    f"load_encoder(backbone_settings({BACKBONE!r}))",
)
AIGID = ("-c", "from aigid.cli.main import main; main()")


def write_bundle(folder: Path) -> None:
    """A calibrated probe of random weights on a tiny encoder."""
    rng, label = np.random.default_rng(0), np.arange(200) % 2
    rows = {"path": label.cumsum().astype(str), "label": label, "generator": np.where(label, "a", "real")}
    validation = pd.DataFrame(rows | {"split": "val", "view": "clean", "score": rng.beta(2 + label, 3 - label)})
    origin = Provenance([backbone_settings(BACKBONE).model_dump(mode="json")])
    bundle.save(
        bundle.Bundle("probe", LinearProbe(rng.normal(size=WIDTH), 0.0, {}), {}, [], origin, validation), folder
    )


def seconds(*arguments: str, cache: Path, python: str = sys.executable) -> np.ndarray:
    """Wall and CPU time of a Python with these arguments."""
    start, before = perf_counter(), os.times()
    env = os.environ | {"AIGID_CACHE": str(cache)}
    done = subprocess.run([python, *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return np.array([perf_counter() - start, sum(os.times()[2:4]) - sum(before[2:4])])


def programs(folder: Path) -> dict[str, tuple[str, ...]]:
    """What is timed, by name; ``one`` and ``all`` are how many of the images it sees."""
    bundle, images = ("--model", str(folder / "bundle")), folder / "images"
    extract = (*AIGID, "extract", "--root", str(images), "--backbone", BACKBONE, "--out", str(folder / "e.h5"))
    judge = (*AIGID, "predict", *bundle, "--csv", str(folder / "p.csv"))
    return {
        REFERENCE: LOADING,
        "predict one": (*AIGID, "predict", *bundle, str(images / "000000.jpg")),
        "extract one": (*extract, str(folder / "one.csv")),
        "extract all": (*extract, str(folder / "manifest.csv")),
        "predict all": (*judge, str(images)),
    }


def measure(folder: Path, rounds: int) -> dict[str, np.ndarray]:
    """Medians of wall and CPU time over interleaved rounds; each ``predict`` also on a warm cache."""
    times: dict[str, list[np.ndarray]] = {}
    for _ in range(rounds):
        for name, arguments in programs(folder).items():
            cache = folder / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            times.setdefault(name, []).append(seconds(*arguments, cache=cache))
            if name.startswith("predict"):
                times.setdefault(f"{name}, warm", []).append(seconds(*arguments, cache=cache))
    return {name: np.median(rounds_of_name, axis=0) for name, rounds_of_name in times.items()}


def _cells(ratios: np.ndarray) -> list[str]:
    return [f"{ratio:.2f}" for ratio in ratios]


@click.command(help=__doc__)
@click.option("--images", default=1000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@record.out_option
def main(images: int, rounds: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = tables.read(pictures.write(folder, images, 512), ())
        tables.write(manifest[:1], folder / "one.csv")
        write_bundle(folder / "bundle")
        times = measure(folder, rounds)
    first = Table("first verdict", "time / loading", "CPU", title=f"{num_workers()} cores, median of {rounds} rounds")
    for name in ("predict one", "predict one, warm", "extract one"):
        first.add_row(name, *_cells(times[name] / times[REFERENCE]))
    many = Table(
        *("all", "images/s", "pace / extract's", "CPU", "without start: pace / extract's", "CPU"),
        title=f"{images} JPEGs of 512 px, cache empty unless warm; start: the same with one image",
    )
    for name in ("extract", "predict", "predict, warm"):
        single, full = (name.replace(",", f" {num},") if "," in name else f"{name} {num}" for num in ("one", "all"))
        net = (times["extract all"] - times["extract one"]) / (times[full] - times[single])
        ratios = _cells(times["extract all"] / times[full]) + _cells(net)
        many.add_row(name, f"{images / times[full][0]:.0f}", *ratios)
    record.publish(first, "predict_start", out, width=100)
    record.publish(many, "predict", out, width=100)


if __name__ == "__main__":
    main()
