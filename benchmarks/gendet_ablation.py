"""GenDet's tables, beside the paper's Tables 1 and 5: margin x alpha, and each part taken away, over several seeds.

python -m benchmarks.gendet_ablation --manifest data/manifests/demo.csv --embeddings data/embeddings/tiny_both/demo.h5

Settings are those of params.yaml, changed one at a time. Every cell is trained on the same rows. With --runs FILE each
run is written at once, and a killed call goes on from that file; a file with runs of other settings, rows or limit is
refused. Figures are test AUROC; nothing is chosen by them.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from aigid.core import embeddings, manifest, params
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.probe import LinearProbe, ProbeSettings
from aigid.detectors.samples import LabeledEmbeddings, Samples, open_dataset
from benchmarks import record

GRID = {f"M={m} alpha={a}": {"margin": m, "alpha": a} for m in (1.0, 2.0, 4.0) for a in (0.01, 0.1, 1.0)}
PARTS = {
    "full": {},
    "teacher": {"mode": "teacher"},
    "teacher-student AD": {"mode": "ad"},
    "AD w/ fake": {"mode": "ad_fake"},
    "1 or 4 tokens": {},
    "sum over outputs": {"reduction": "sum"},
    "separate optimiser state": {"optimizer_sharing": "separate"},
    "normalised discrepancy": {"normalize_discrepancy": True},
    "plain augmenter": {"residual_augmenter": False},
    "N_c on augmented fakes": {"classifier_fakes": "augmented"},
    "unscaled features": {},
}
METRICS = ["auroc", "seen", "unseen", "val"]


def of_cell(name: str, settings: GenDetSettings) -> GenDetSettings:
    """The settings of one cell of either table."""
    changes = {**GRID, **PARTS}[name]
    teacher = settings.teacher.model_dump()
    if name == "1 or 4 tokens":
        teacher["num_tokens"] = 1 if teacher["num_tokens"] == 4 else 4
    if name == "unscaled features":
        teacher["standardize"] = not teacher["standardize"]
    return GenDetSettings.model_validate(settings.model_dump() | changes | {"teacher": teacher})


def sample(rows: LabeledEmbeddings, limit: int | None) -> LabeledEmbeddings:
    """``limit`` rows of each class, drawn once."""
    if limit is None:
        return rows
    indices = np.concatenate([np.flatnonzero(rows.y == label)[:limit] for label in (0, 1)])
    return LabeledEmbeddings(rows.x[indices], rows.y[indices])


def evaluate(dataset: Samples, scores: np.ndarray) -> dict[str, float]:
    """Test AUROC over all, and its mean over generators seen in training and unseen ones."""
    rows = dataset.table[(dataset.table["split"] == "test").to_numpy() & (dataset.status == embeddings.OK)]
    labels, generators = rows["label"].to_numpy(), rows["generator"].to_numpy()
    seen = set(dataset.table.loc[dataset.table["split"] == "train", "generator"])
    parts: dict[str, list[float]] = {"seen": [], "unseen": []}
    for name in sorted(set(generators[labels == 1])):
        mask = (labels == 0) | (generators == name)
        parts["seen" if name in seen else "unseen"].append(roc_auc_score(labels[mask], scores[mask]))
    means = {part: float(np.mean(values)) if values else float("nan") for part, values in parts.items()}
    return {"auroc": roc_auc_score(labels, scores), **means}


def train_cells(
    parts: dict[str, LabeledEmbeddings], cells: list[str], settings: GenDetSettings, seeds: int, runs: record.Runs
) -> Iterator[tuple[str, int, LinearProbe | GenDet]]:
    """Yield cell, seed and detector of what ``runs`` lacks; cells of equal teacher settings share a teacher."""
    train, val = parts["train"], parts["val"]
    if not runs.has("probe", 0):
        yield "probe", 0, LinearProbe.fit(params.load_section("probe", ProbeSettings), train, val, 0)
    for seed in range(seeds):
        teachers: dict[str, GenDet] = {}
        for cell in cells:
            if runs.has(cell, seed):
                continue
            chosen = of_cell(cell, settings)
            name = chosen.teacher.model_dump_json()
            teachers[name] = teachers.get(name) or GenDet.fit_teacher(chosen.teacher, train, val, seed)
            yield cell, seed, GenDet.fit(chosen, train, val, seed, teachers[name])


def rows_hash(*parts: LabeledEmbeddings) -> str:
    """Return the sha256 of embeddings and labels."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part.x).tobytes())
        digest.update(np.ascontiguousarray(part.y).tobytes())
    return digest.hexdigest()


def summary(table: pd.DataFrame, title: str) -> Table:
    """Return mean and standard deviation over the seeds of each cell."""
    report = Table("cell", "seeds", "AUROC", "seen", "unseen", "val", "s a run", title=title)
    for cell, part in table.groupby("cell", sort=False):
        spread = [f"{part[name].mean():.3f} +- {part[name].std(ddof=0):.3f}" for name in METRICS]
        report.add_row(cell, str(len(part)), *spread, f"{part['seconds'].mean():.0f}")
    return report


@click.command(help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--table", "which", type=click.Choice(["grid", "parts", "both"]), default="both", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--limit", type=int, help="Training rows of each class; all if left out.")
@click.option("--runs", "runs_path", type=Path, help="CSV, one line a run, from which a killed call goes on.")
@click.option("--name", default="gendet_ablation", show_default=True, help="Of the table in --out.")
@record.out_option
def main(
    manifest_path: Path,
    embeddings: Path,
    which: str,
    seeds: int,
    limit: int | None,
    runs_path: Path | None,
    name: str,
    out: Path,
) -> None:
    dataset, settings = (
        open_dataset(manifest.read(manifest_path), [embeddings]),
        params.load_section("gendet", GenDetSettings),
    )
    cells = [*(GRID if which != "parts" else {}), *(PARTS if which != "grid" else {})]
    parts = {split: dataset.split(split) for split in ("train", "val", "test")}
    parts["train"] = sample(parts["train"], limit)
    probe = params.load_section("probe", ProbeSettings).model_dump()
    made_of = {"gendet": settings.model_dump(), "probe": probe, "grid": GRID, "parts": PARTS}
    runs = record.Runs(runs_path, record.experiment_key(settings=made_of, rows=rows_hash(*parts.values()), limit=limit))
    start = time.perf_counter()
    for cell, seed, detector in train_cells(parts, cells, settings, seeds, runs):
        result = evaluate(dataset, detector.p_generated(parts["test"].x))
        result["val"] = roc_auc_score(parts["val"].y, detector.p_generated(parts["val"].x))
        runs.add({"cell": cell, "seed": seed, **result, "seconds": time.perf_counter() - start})
        start = time.perf_counter()
    table = runs.table()
    Console().print(summary(table, str(embeddings)))
    record.write_table(name, table.to_dict("records"), out)


if __name__ == "__main__":
    main()
