"""GenDet's tables, beside the paper's Tables 1, 2 and 5: margin x alpha, and each part taken away, over several seeds.

python -m benchmarks.gendet_ablation --manifest data/manifests/demo.csv --embeddings FILE.h5 [--table choices --folds 7]

Settings are those of params.yaml, changed one at a time; every cell is trained on the same rows. Figures are test AUROC
of N_c and of the other read-outs, and the differences from an untrained student and from the teacher alone within each
seed; the intervals are over groups of images and over seeds. Nothing is chosen by them: with --folds the cells are
cross-validated on train and val, whole groups at a time, and each fold's training leaves out one generator in turn.
With --runs FILE each run is written at once, and a killed call goes on from there; a file with runs of other settings,
rows or limit is refused.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from aigid.core import manifest, params, seeding
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.model import readouts
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.training import to_tensors
from aigid.detectors.samples import LabeledEmbeddings, Samples, open_dataset
from aigid.metrics import intervals, resampling
from aigid.training.tabular import batched
from benchmarks import record

UNTRAINED, TEACHER = "untrained student", "teacher"
Cell = dict[str, Any] | Callable[[GenDetSettings], dict[str, Any]]  # what it changes, of a section within it too
OTHER = {"random": "teacher", "teacher": "random", "all": "balanced", "balanced": "all"}
RANDOM = {"student_init": "random"}  # where a student that starts as the teacher would stay it
GRID: dict[str, Cell] = {
    f"M={m} alpha={a}": {"margin": m, "alpha": a} for m in (1.0, 2.0, 4.0) for a in (0.01, 0.1, 1.0)
}
CONTROLS: dict[str, Cell] = {UNTRAINED: {"num_rotations": 0} | RANDOM, TEACHER: {"mode": "teacher"}}
VARIANTS: dict[str, Cell] = {
    "the other sampling of fakes": lambda now: {"fake_sampling": OTHER[now.fake_sampling]},
    "1 or 4 tokens": lambda now: {"teacher": {"num_tokens": 4 if now.teacher.num_tokens == 1 else 1}},
    "normalized discrepancy": {"normalize_discrepancy": True},
    "scaled or unscaled features": lambda now: {"teacher": {"standardize": not now.teacher.standardize}},
}
MODES = CONTROLS | {
    "full": {},
    "teacher-student AD": {"mode": "ad"} | RANDOM,
    "AD w/ fake": {"mode": "ad_fake"},
    "the other start of the student": lambda now: {"student_init": OTHER[now.student_init]},
}
PARTS = CONTROLS | {
    "full": {},
    **VARIANTS,
    "sum over outputs": {"reduction": "sum"},
    "separate optimizer states": {"optimizer_sharing": "separate"},
    "plain augmenter": {"residual_augmenter": False},
    "N_c on augmented fakes": {"classifier_fakes": "augmented"},
}
CHOICES = CONTROLS | {
    **{f"rate {rate:g}, start {start}": {"learning_rate": rate, "student_init": start}
       for rate in (1e-4, 3e-4, 1e-3) for start in ("random", "teacher")},
    "a fifth of the steps": lambda now: {"num_rotations": now.num_rotations // 5},
    "5 epochs of N_c": {"classifier": {"epochs": 5}},
    "AD w/ fake": {"mode": "ad_fake"},
    **VARIANTS,
}  # fmt: skip
TABLES = {"modes": MODES, "grid": CONTROLS | GRID, "parts": PARTS, "choices": CHOICES}
READOUTS = ["cosine_distance", "mean_discrepancy", "logistic_regression"]


class Fold(NamedTuple):
    """Rows to train on and rows to score, each with its group's or, alone, its own name."""

    train: LabeledEmbeddings
    test: LabeledEmbeddings
    groups: np.ndarray


def of_cell(cell: Cell, settings: GenDetSettings) -> GenDetSettings:
    """The settings of one cell of a table."""
    result = settings.model_dump()
    for key, value in (cell(settings) if callable(cell) else cell).items():
        result[key] = result[key] | value if isinstance(value, dict) else value
    return GenDetSettings.model_validate(result)


def pick(rows: LabeledEmbeddings, indices: np.ndarray) -> LabeledEmbeddings:
    return LabeledEmbeddings(rows.x[indices], rows.y[indices], rows.paths[indices], (), rows.generators[indices])


def sample(rows: LabeledEmbeddings, limit: int | None) -> LabeledEmbeddings:
    """``limit`` rows of each class, drawn at random, once."""
    if limit is None:
        return rows
    order = seeding.numpy_generator("gendet_ablation", "limit").permutation(len(rows))
    return pick(rows, np.sort(np.concatenate([order[rows.y[order] == label][:limit] for label in (0, 1)])))


def folds_of(dataset: Samples, limit: int | None, num_folds: int | None) -> list[Fold]:
    """The training and test split; or, of train and val together, folds of whole groups."""
    names = pd.Series(intervals.group_names(dataset.table), dataset.table["path"])
    names = names.where(names != "", names.index.to_series())
    train, other = (dataset.split(split) for split in ("train", "val" if num_folds else "test"))
    train = sample(train, limit)
    if num_folds is None:
        return [Fold(train, other, names[other.paths].to_numpy())]
    rows = LabeledEmbeddings(
        *(np.concatenate([getattr(part, key) for part in (train, other)]) for key in ("x", "y", "paths")),
        generators=np.concatenate([train.generators, other.generators]),
    )
    groups, generators, result = names[rows.paths].to_numpy(), sorted({*rows.generators} - {"real"}), []
    for number, (fitted, held_out) in enumerate(GroupKFold(num_folds).split(rows.x, groups=groups)):
        absent = generators[number % len(generators)] if len(generators) > 1 else ""
        fitted = fitted[rows.generators[fitted] != absent]
        result.append(Fold(pick(rows, fitted), pick(rows, held_out), groups[held_out]))
    return result


def score(detector: GenDet, fold: Fold, seed: int) -> dict[str, np.ndarray]:
    """Scores of the fold's test rows by each read-out; ``auroc`` is that of the detector's own."""
    result = {"auroc": detector.p_generated(fold.test.x)}
    if detector.network.student is not None:
        train, test = (to_tensors(part, detector.network) for part in (fold.train, fold.test))
        with torch.no_grad():
            functions = readouts(detector.network, train.x, train.y, seed)
            result |= {name: batched(functions[name], test.x).cpu().numpy() for name in READOUTS}
    return result


def evaluate(fold: Fold, scores: dict[str, np.ndarray]) -> dict[str, float]:
    """AUROC of each read-out over all, and N_c's mean over generators seen in training and unseen ones."""
    labels, generators = fold.test.y, fold.test.generators
    parts: dict[str, list[float]] = {"seen": [], "unseen": []}
    for name in sorted({*generators} - {"real"}):
        mask = (labels == 0) | (generators == name)
        part = "seen" if name in fold.train.generators else "unseen"
        parts[part].append(roc_auc_score(labels[mask], scores["auroc"][mask]))
    means = {part: float(np.mean(values)) if values else float("nan") for part, values in parts.items()}
    absent = dict.fromkeys(READOUTS, float("nan"))
    return absent | {name: roc_auc_score(labels, values) for name, values in scores.items()} | means


def train_cells(
    folds: list[Fold], cells: dict[str, GenDetSettings], seeds: int, runs: record.Runs
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Yield row and draws of each cell, seed and fold that ``runs`` lacks; cells of one teacher's settings share it."""
    for seed, (number, fold) in ((seed, pair) for seed in range(seeds) for pair in enumerate(folds)):
        teachers: dict[str, GenDet] = {}
        for cell, chosen in cells.items():
            if runs.has(f"{cell}/{number}", seed):
                continue
            start, name = time.perf_counter(), chosen.teacher.model_dump_json()
            if name not in teachers:
                teachers[name] = GenDet.fit_teacher(chosen.teacher, fold.train, fold.test, seed)
            detector = GenDet.fit(chosen, fold.train, fold.test, seed, teachers[name])
            scores, log = score(detector, fold, seed), detector.logs.get("rotations")
            row = {"steps": 0 if log is None else log["steps"].iloc[-1], **evaluate(fold, scores)}
            seconds = time.perf_counter() - start
            yield {"cell": f"{cell}/{number}", "seed": seed, **row, "seconds": seconds}, scores["auroc"]


def auroc_draws(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """AUROC of draws of whole groups, the same ones for all scores."""
    population = resampling.population(labels, scores, groups=groups)
    return resampling.bootstrap(population, resampling.N_BOOTSTRAP, np.random.default_rng(0))["auroc"][:, 0]


def interval(first: list[np.ndarray], second: list[np.ndarray], num: int) -> tuple[float, float]:
    """95 % interval of the mean difference over seeds, of draws (B,) of groups for each seed; seeds are drawn too."""
    differences = np.stack(first) - np.stack(second)
    draw = np.random.default_rng(0).integers(0, len(differences), differences.shape)
    return intervals.interval(np.take_along_axis(differences, draw, axis=0).mean(axis=0), num)


def summarize(table: pd.DataFrame, draws: dict[tuple[str, int], np.ndarray], folds: list[Fold]) -> pd.DataFrame:
    """Return a row a cell: mean and deviation over seeds, and its differences from the two controls."""
    table = table.assign(cell=table["cell"].str.rpartition("/")[0])
    by_seed = table.groupby(["cell", "seed"], sort=False).mean(numeric_only=True)
    rows = []
    for cell in dict.fromkeys(table["cell"]):
        part = by_seed.loc[cell]
        row = {"cell": cell, "seeds": len(part), "steps": int(part["steps"].iloc[0])}
        row |= {"auroc": part["auroc"].mean(), "auroc_sd": part["auroc"].std(ddof=1)}
        row |= part[["seen", "unseen", *READOUTS]].mean().to_dict()
        for short, control in {"untrained": UNTRAINED, "teacher": TEACHER}.items():
            if control not in by_seed.index:
                continue
            difference = part["auroc"] - by_seed.loc[control]["auroc"]
            row |= {f"minus_{short}": difference.mean(), f"minus_{short}_sd": difference.std(ddof=1)}
            if len(folds) == 1:
                pairs = [[draws[name, seed] for seed in part.index] for name in (cell, control)]
                num = intervals.num_independent(folds[0].test.y, folds[0].groups)
                row[f"minus_{short}_low"], row[f"minus_{short}_high"] = interval(*pairs, num)
        rows.append(row | {"seconds": part["seconds"].mean() * len(folds)})
    return pd.DataFrame(rows).round(4)


def score_path(folder: Path, cell: str, seed: int) -> Path:
    """Of a run's test scores, which a killed call needs for the intervals."""
    return folder / f"{cell.replace('/', '-')}-{seed}.npy"


def rows_hash(folds: list[Fold]) -> str:
    """Return the sha256 of embeddings and labels."""
    digest = hashlib.sha256()
    for part in (part for fold in folds for part in fold[:2]):
        digest.update(np.ascontiguousarray(part.x).tobytes())
        digest.update(np.ascontiguousarray(part.y).tobytes())
    return digest.hexdigest()


@click.command(help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--table", "which", type=click.Choice([*TABLES]), default="modes", show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Training rows of each class, drawn at random; all if left out.")
@click.option("--steps", type=click.IntRange(1), help="Of the student on reals, at least, by its rotations.")
@click.option("--folds", "num_folds", type=click.IntRange(2), help="Cross-validate on train and val; no test.")
@click.option("--runs", "runs_path", type=Path, help="CSV, one line a run, from which a killed call goes on.")
@click.option("--name", help="Of the table in --out.  [default: gendet_<table>]")
@record.out_option
def main(
    manifest_path: Path, embeddings: Path, which: str, seeds: int, limit: int | None, steps: int | None,
    num_folds: int | None, runs_path: Path | None, name: str | None, out: Path,
) -> None:  # fmt: skip
    settings = params.load_section("gendet", GenDetSettings)
    folds = folds_of(open_dataset(manifest.read(manifest_path), [embeddings]), limit, num_folds)
    if steps:
        num = min(int((fold.train.y == 0).sum()) for fold in folds)
        settings = settings.model_copy(update={"num_rotations": -(-steps // -(-num // settings.batch_size))})
    cells = {name: of_cell(cell, settings) for name, cell in TABLES[which].items()}
    made_of = {name: cell.model_dump() for name, cell in cells.items()}
    runs = record.Runs(runs_path, record.experiment_key(settings=made_of, rows=rows_hash(folds), limit=limit))
    scores, folder = {}, runs_path.with_suffix("") if runs_path else None
    for row, values in train_cells(folds, cells, seeds, runs):
        scores[row["cell"], row["seed"]] = values
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(score_path(folder, row["cell"], row["seed"]), values)
        runs.add(row)
    table = runs.table()
    for cell, seed in zip(table["cell"], table["seed"], strict=True):
        if (cell, seed) not in scores:
            scores[cell, seed] = np.load(score_path(folder, cell, seed))
    y, groups = folds[0].test.y, folds[0].groups
    draws = {} if num_folds else {(cell[:-2], seed): auroc_draws(y, x, groups) for (cell, seed), x in scores.items()}
    summary = summarize(table, draws, folds)
    click.echo(summary.to_string(index=False))
    train = f"{(folds[0].train.y == 0).sum()} reals and {(folds[0].train.y == 1).sum()} fakes to train on"
    record.write_table(
        name or f"gendet_{which}", summary.assign(trained_on=train, key=runs.key).to_dict("records"), out
    )


if __name__ == "__main__":
    main()
