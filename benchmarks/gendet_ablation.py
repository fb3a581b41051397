"""GenDet's tables, beside the paper's Tables 1 and 5: margin x alpha, and each part taken away, over several seeds.

python -m benchmarks.gendet_ablation --manifest data/manifests/demo.csv --embeddings data/embeddings/tiny_both/demo.h5

Settings are those of params.yaml, changed one at a time. Every cell is trained on the same rows; runs that a former
call has put into --out are not repeated. Figures are test AUROC; nothing is chosen by them.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from aigid import store
from aigid.base import params
from aigid.data import manifest
from aigid.detectors.base.rows import EmbeddedDataset, Rows, open_dataset
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.probe import LinearProbe, ProbeSettings

GRID = {f"M={m} alpha={a}": {"margin": m, "alpha": a} for m in (1.0, 2.0, 4.0) for a in (0.01, 0.1, 1.0)}
PARTS = {
    "full": {},
    "teacher": {"mode": "teacher"},
    "teacher-student AD": {"mode": "ad"},
    "AD w/ fake": {"mode": "ad_fake"},
    "1 or 4 tokens": {},
    "sum over outputs": {"reduction": "sum"},
    "separate optimiser state": {"optimizer_state": "separate"},
    "normalised discrepancy": {"normalize_discrepancy": True},
    "plain augmenter": {"residual_augmenter": False},
    "N_c on augmented fakes": {"classified_fakes": "augmented"},
    "unscaled features": {},
}
COLUMNS = ["cell", "seed", "auroc", "seen", "unseen", "val", "seconds"]


def of_cell(name: str, settings: GenDetSettings) -> GenDetSettings:
    """The settings of one cell of either table."""
    changes = {**GRID, **PARTS}[name]
    teacher = settings.teacher.model_dump()
    if name == "1 or 4 tokens":
        teacher["num_tokens"] = 1 if teacher["num_tokens"] == 4 else 4
    if name == "unscaled features":
        teacher["standardize"] = not teacher["standardize"]
    return GenDetSettings.model_validate(settings.model_dump() | changes | {"teacher": teacher})


def sample(rows: Rows, limit: int | None) -> Rows:
    """``limit`` rows of each class, drawn once."""
    if limit is None:
        return rows
    places = np.concatenate([np.flatnonzero(rows.y == label)[:limit] for label in (0, 1)])
    return Rows(rows.x[places], rows.y[places])


def judged(dataset: EmbeddedDataset, scores: np.ndarray) -> dict[str, float]:
    """Test AUROC over all, and its mean over generators seen in training and unseen ones."""
    rows = dataset.manifest[(dataset.manifest["split"] == "test").to_numpy() & (dataset.status == store.OK)]
    labels, generators = rows["label"].to_numpy(), rows["generator"].to_numpy()
    seen = set(dataset.manifest.loc[dataset.manifest["split"] == "train", "generator"])
    parts: dict[str, list[float]] = {"seen": [], "unseen": []}
    for name in sorted(set(generators[labels == 1])):
        kept = (labels == 0) | (generators == name)
        parts["seen" if name in seen else "unseen"].append(roc_auc_score(labels[kept], scores[kept]))
    means = {part: float(np.mean(values)) if values else float("nan") for part, values in parts.items()}
    return {"auroc": roc_auc_score(labels, scores), **means}


def runs(
    dataset: EmbeddedDataset, cells: list[str], settings: GenDetSettings, seeds: int, limit: int | None, done: set
) -> Iterator[dict]:
    """One row a cell and seed, teachers being shared where they are the same."""
    train, val, test = sample(dataset.split("train"), limit), dataset.split("val"), dataset.split("test")
    for seed in range(seeds):
        teachers: dict[str, GenDet] = {}
        for cell in cells:
            if (cell, seed) in done:
                continue
            start, chosen = time.perf_counter(), of_cell(cell, settings)
            key = chosen.teacher.model_dump_json()
            teachers[key] = teachers.get(key) or GenDet.fit_teacher(chosen.teacher, train, val, seed)
            detector = GenDet.fit(chosen, train, val, seed, teachers[key])
            found = judged(dataset, detector.score(test.x)) | {"val": roc_auc_score(val.y, detector.score(val.x))}
            yield {"cell": cell, "seed": seed, **found, "seconds": time.perf_counter() - start}


@click.command(help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--table", "which", type=click.Choice(["grid", "parts", "both"]), default="both", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--limit", type=int, help="Training rows of each class; all if left out.")
@click.option("--out", type=Path, default="gendet_ablation.csv", show_default=True, help="One line a run.")
def main(manifest_path: Path, embeddings: Path, which: str, seeds: int, limit: int | None, out: Path) -> None:
    dataset = open_dataset(manifest.read(manifest_path), [embeddings])
    settings = params.load("gendet", GenDetSettings)
    cells = [*(GRID if which != "parts" else {}), *(PARTS if which != "grid" else {})]
    old = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=COLUMNS)
    done = set(zip(old["cell"], old["seed"], strict=True))
    if ("probe", 0) not in done:
        train, val = sample(dataset.split("train"), limit), dataset.split("val")
        probe = LinearProbe.fit(params.load("probe", ProbeSettings), train, val, 0)
        found = judged(dataset, probe.score(dataset.split("test").x))
        row = {"cell": "probe", "seed": 0, **found, "val": roc_auc_score(val.y, probe.score(val.x)), "seconds": 0}
        pd.DataFrame([row])[COLUMNS].to_csv(out, mode="a", header=not out.exists(), index=False)
    for row in runs(dataset, cells, settings, seeds, limit, done):
        pd.DataFrame([row])[COLUMNS].to_csv(out, mode="a", header=False, index=False)
    found = pd.read_csv(out)
    table = Table("cell", "seeds", "AUROC", "seen", "unseen", "val", "s a run", title=str(embeddings))
    for cell in ["probe", *cells]:
        part = found[found["cell"] == cell]
        spread = [f"{part[name].mean():.3f} +- {part[name].std(ddof=0):.3f}" for name in COLUMNS[2:6]]
        table.add_row(cell, str(len(part)), *spread, f"{part['seconds'].mean():.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
