"""NYCU's choices one at a time, over several seeds: channels, and training with and without the eight perturbations.

    python -m benchmarks.nycu --manifest data/manifests/cifake.csv --root $AIGID_DATA/cifake

Networks start from EfficientNet-Lite0, whose stem does not stride, as images are small; SVMs stand on its frozen
features and have the paper's C and gamma. Each seed draws images of its own for every cell. Test images are judged as
they are and perturbed. With --runs FILE a killed call goes on from that file. Nothing is chosen by the figures.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from rich.table import Table
from sklearn.metrics import roc_auc_score

from aigid.aligned.generator import VaeSettings, obtain_autoencoder
from aigid.core import manifest
from aigid.detectors.cnn.detector import Cnn
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.protocol import score_views
from aigid.detectors.samples import Samples, open_dataset
from aigid.detectors.svm.detector import KernelSvm, SvmSettings
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.features.preprocess import MEAN_STD_05
from aigid.generators.autoencoder_kl import save
from benchmarks import record

SETS = (("rgb",), ("rgb", "error"), ("rgb", "frequency"), ("rgb", "error", "frequency"))  # of channels
EIGHT = ("clean", *(f"nycu_aug{number}" for number in range(1, 8)))  # NYCU's augmentation, nycu_aug0 being clean
TESTED = ("clean", "noise10", "jpeg50", "dark60", "blur5x5_2", "crop80")
IMAGES = {"train": 500, "val": 150, "test": 300}  # of each class
NETWORK: dict[str, Any] = {
    "size": 32, "model": "tf_efficientnet_lite0", "pretrained": "efficientnet_lite0", "stem": "adapted",
    "stem_stride": 1, "epochs": 3, "batch_size": 64, "optimizer": "adamw", "schedule": "one_cycle",
    "learning_rate": 1e-3, "weight_decay": 0.05, "hflip": True,
}  # fmt: skip
BACKBONE = "efficientnet_lite0_96"
PREPROCESS = {"size": 64, "resize": "squash", "mean": MEAN_STD_05, "std": MEAN_STD_05}
VAE = {"size": 32, "steps": 200}
ALL = " ".join(SETS[-1])
CELLS: dict[str, dict[str, Any]] = {f"network: {' '.join(channels)}": {"channels": channels} for channels in SETS} | {
    f"network: {ALL}; eight perturbations": {"views": EIGHT, "view_sampling": "random"},
    "SVM": {},
    "SVM; eight perturbations": {"views": EIGHT},
}
BASE = {name: "SVM" if "SVM" in name else "network: rgb" for name in CELLS} | {
    f"network: {ALL}; eight perturbations": f"network: {ALL}"
}


def draw(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return as many images of each split and class as ``IMAGES`` says, or all that there are."""
    parts = [
        rows.sample(min(IMAGES[str(split)], len(rows)), random_state=seed)
        for (split, _), rows in table.groupby(["split", "generator"])
    ]
    return pd.concat(parts).sort_index().reset_index(drop=True)


def judge_network(changes: dict[str, Any], table: pd.DataFrame, root: Path, vae: Path, seed: int) -> pd.DataFrame:
    """Return the scores of test images in all views, by a network trained on the others."""
    samples = Samples(table, root, seed)
    settings = CnnSettings(dataset="drawn", **NETWORK | changes)
    detector = Cnn.fit(settings, samples.subset("train"), samples.subset("val"), seed, vae=vae)
    return score_views(detector, samples.subset("test"), TESTED)


def judge_svm(changes: dict[str, Any], table: pd.DataFrame, root: Path, folder: Path, seed: int) -> pd.DataFrame:
    """Return the same of an SVM; embeddings come through the cache."""
    settings, opened = SvmSettings(dataset="drawn", backbone=BACKBONE, **changes), {}
    encoder = backbone_settings(BACKBONE, {"preprocess": PREPROCESS})
    for name, views in {"fitted": settings.views, "test": TESTED}.items():
        rows = table[(table["split"] == "test") == (name == "test")].reset_index(drop=True)
        extract(rows, root, encoder, views, seed).write(folder / f"{name}.h5")
        opened[name] = open_dataset(rows, [folder / f"{name}.h5"])
    train, val = (opened["fitted"].split(split, settings.views) for split in ("train", "val"))
    return score_views(KernelSvm.fit(settings, train, val, seed), opened["test"], TESTED)


def metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Return the accuracy of each view, the mean of the perturbed ones, and the AUROC of clean images."""
    values = {
        str(view): float((part["predicted"] == part["generator"]).mean())
        for view, part in scores.groupby("view", sort=False)
    }
    clean = scores[scores["view"] == "clean"]
    perturbed = float(np.mean([value for view, value in values.items() if view != "clean"]))
    return {"auroc": float(roc_auc_score(clean["label"], clean["score"])), "perturbed": perturbed} | values


def summary(runs: pd.DataFrame) -> Table:
    """Return means and deviations over the seeds, and the mean differences within seeds to each cell's base."""
    columns = {"AUROC": "auroc", "clean": "clean", "perturbed": "perturbed", **{view: view for view in TESTED[1:]}}
    title = f"test accuracy but for AUROC; images of each class {IMAGES}, {NETWORK['epochs']} epochs"
    table = Table("trained", "seeds", *columns, "clean - base", "perturbed - base", "base", title=title)
    by_cell = {str(cell): rows.set_index("seed").sort_index() for cell, rows in runs.groupby("cell")}
    for cell in (name for name in CELLS if name in by_cell):
        rows, base = by_cell[cell], by_cell.get(BASE[cell])
        cells = [spread(rows[column]) for column in columns.values()]
        if base is None or cell == BASE[cell]:
            table.add_row(cell, str(len(rows)), *cells, "", "", "")
            continue
        cells += [spread(rows[column] - base[column], "+") for column in ("clean", "perturbed")]
        table.add_row(cell, str(len(rows)), *cells, BASE[cell])
    return table


def spread(values: pd.Series, sign: str = "") -> str:
    """Return mean +- standard deviation (ddof 1) over the seeds."""
    values = values.dropna()
    return f"{values.mean():{sign}.3f}" + (f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else "")


@click.command(help=__doc__)
@click.option("--manifest", "path", type=Path, required=True)
@click.option("--root", type=Path, required=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--cell", "cells", multiple=True, type=click.Choice(list(CELLS)), help="Only these; else all.")
@click.option("--runs", "runs_path", type=Path, help="CSV, one line a run, from which a killed call goes on.")
@record.out_option
def main(path: Path, root: Path, seeds: int, cells: tuple[str, ...], runs_path: Path | None, out: Path) -> None:
    table = manifest.read(path)
    inputs = [CELLS, NETWORK, BACKBONE, PREPROCESS, VAE, IMAGES, TESTED, EIGHT, table["sha256"].tolist()]
    runs = record.Runs(runs_path, record.experiment_key(settings=inputs))
    for seed in range(seeds):
        rows = draw(table, seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save(obtain_autoencoder(VaeSettings(dataset="drawn", **VAE), rows, root, seed), folder / "vae")
            for cell in (cell for cell in cells or CELLS if not runs.has(cell, seed)):
                judge, given = (judge_svm, folder) if "SVM" in cell else (judge_network, folder / "vae")
                runs.add({"cell": cell, "seed": seed} | metrics(judge(CELLS[cell], rows, root, given, seed)))
    record.publish(summary(runs.table()), f"nycu_{path.stem}", out, width=200)


if __name__ == "__main__":
    main()
