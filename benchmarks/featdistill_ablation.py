"""FeatDistill with each of its parts taken away, over several seeds: clean and robust AUROC, as NTIRE ranks.

    python -m benchmarks.featdistill_ablation --manifest data/manifests/demo.csv --root data/images/demo

Settings are those of params.yaml, of one expert, changed one at a time; the same seed means the same start, the same
order and the same crops. With --runs FILE a killed call goes on from that file; one with runs of other settings or
images is refused. Validation's figures are beside those of test, so that what is chosen is chosen by them.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pandas as pd
import torch
from rich.table import Table
from scipy.stats import t as student_t

from aigid.core import manifest, params
from aigid.core.files import choose_device, device_name, num_workers
from aigid.degradations import views
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.data import select_rows
from aigid.detectors.featdistill.model import Expert, p_generated
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.featdistill.training import StageRun, train
from aigid.experiments import featdistill
from aigid.features.encoder import normalize
from aigid.features.preprocess import Preprocess, resize_and_crop
from aigid.images import decode as pictures
from benchmarks import record

START = "stage 1"
ROBUST = "ntire_train"  # the view of the distorted half
PARTS: dict[str, dict[str, Any]] = {
    "stage 1, no degradation": {"data": {"policy": None}},
    START: {},
    "stage 1, crop degraded": {"data": {"degrade": "crop"}},
    "stage 1, the view's operators": {"data": {"policy": ROBUST}},
    "stage 2, no teacher": {"stage2": {"mode": "none"}},
    "stage 2": {"stage2": {"mode": "l2", "teacher_view": "clean"}},
    "stage 2, teacher sees the same": {"stage2": {"mode": "l2", "teacher_view": "same"}},
    "stage 2, contrast with a moving teacher": {"stage2": {"mode": "crd_ema"}},
}


class TestImages(NamedTuple):
    """Images of a split as NTIRE shows them, as the expert's squares (N, S, S, 3)."""

    rows: pd.DataFrame
    squares: np.ndarray

    def marks(self, expert: Expert, chosen: Preprocess) -> dict[str, float]:
        """Clean and robust AUROC."""
        device = next(expert.parameters()).device
        with torch.inference_mode():
            parts = [
                p_generated(expert.eval()(normalize(part, chosen, device)))
                for part in np.array_split(self.squares, -(-len(self.squares) // 128))
            ]
        scores = self.rows.assign(score=torch.cat(parts).cpu().numpy())
        return {
            name: value
            for name, value in featdistill.degraded_metrics(scores, 0).items()
            if name in ("auroc_clean", "auroc_robust")
        }


def build_test(
    table: pd.DataFrame, split: str, root: Path, chosen: Preprocess, max_images: int | None, draws: int
) -> TestImages:
    """Half of a split's images clean, the others distorted as NTIRE distorts them.

    With ``draws`` each of them is clean and in as many draws of the distortions.
    """
    rows = select_rows(table, split, max_images, 0)
    shown_views = [rows.assign(view=featdistill.CLEAN, draw=0)]
    shown_views += [rows.assign(view=ROBUST, draw=draw) for draw in range(max(draws, 1))]
    images = pd.concat(shown_views)
    if not draws:
        images = featdistill.split_by_hash(images.assign(split="test"), rows.set_index("path")["sha256"])

    def square(row: Any) -> np.ndarray:
        return resize_and_crop(views.apply(row.view, pictures.decode(root / row.path), row.sha256, row.draw)[0], chosen)

    with ThreadPoolExecutor(num_workers()) as pool:
        return TestImages(images, np.stack(list(pool.map(square, images.itertuples()))))


def changed(settings: FeatDistillSettings, changes: dict[str, Any], seed: int) -> FeatDistillSettings:
    """The settings of one part, for a seed."""
    plain = settings.model_dump()
    for section, values in changes.items():
        plain[section] |= values
    for expert in plain["experts"].values():
        expert["seed"] += 100 * seed
        expert["backbone"]["seed"] += 100 * seed
    return FeatDistillSettings.model_validate(plain)


def run(
    settings: FeatDistillSettings,
    name: str,
    table: pd.DataFrame,
    root: Path,
    test_images: dict[str, TestImages],
    seed: int,
    requested: set[str],
) -> Iterator[dict[str, Any]]:
    """A row for each requested part: stage 1 without and with degradation, and from the latter every stage 2."""
    device = choose_device(device_name())
    start, needed = None, requested | ({START} if any("stage2" in PARTS[part] for part in requested) else set())
    for part, changes in PARTS.items():
        if part not in needed:
            continue
        chosen = changed(settings, changes, seed)
        two = "stage2" in changes
        course = StageRun(chosen, name, 1 + two, table, root, 0)
        expert = experts.build(chosen.experts[name])
        if two:
            expert.load_state_dict(start)
        began = time.process_time()
        _, checkpoint = train(course, expert, device, "ablation")
        seconds = time.process_time() - began
        if part == START:
            start = {key: value.clone() for key, value in expert.state_dict().items()}
        if part in requested:
            preprocess = chosen.experts[name].backbone.preprocess
            marks = {split: images.marks(expert, preprocess) for split, images in test_images.items()}
            values = {f"{split}_{kind}": value for split, of in marks.items() for kind, value in of.items()}
            yield {"cell": part, "seed": seed, "seconds": seconds, "lessons": len(course.train)} | values
        checkpoint.unlink(missing_ok=True)


def summary(runs_table: pd.DataFrame) -> Table:
    """Means over the seeds with 95 % intervals (Student's t), and the differences to stage 1 of the same seeds."""
    columns = ("part", "seeds", "clean", "robust", "clean - stage 1", "robust - stage 1", "robust - stage 1 on val")
    table = Table(*columns, "s of CPU", title="test AUROC; differences within seeds, with 95 % intervals")
    base = runs_table[runs_table["cell"] == START].set_index("seed")
    for part in PARTS:
        part_runs = runs_table[runs_table["cell"] == part].set_index("seed").sort_index()
        if part_runs.empty:
            continue
        names = ("test_auroc_clean", "test_auroc_robust", "val_auroc_robust")
        cells = [mean(part_runs[name]) for name in names[:2]]
        cells += ["" if part == START else mean(part_runs[name] - base[name], sign=True) for name in names]
        table.add_row(part, str(len(part_runs)), *cells, f"{part_runs['seconds'].mean():.0f}")
    return table


def mean(values: pd.Series, sign: bool = False) -> str:
    """A mean with its interval over the seeds; nothing of none."""
    values = values.dropna()
    if values.empty:
        return ""
    text = f"{values.mean():+.3f}" if sign else f"{values.mean():.3f}"
    if len(values) < 2:
        return text
    half = student_t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
    return f"{text} +- {half:.3f}"


@click.command(help=__doc__)
@click.option("--manifest", "path", type=Path, required=True)
@click.option("--root", type=Path, required=True)
@click.option("--expert", help="A name under featdistill.experts; else the first.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only these; else all.")
@click.option("--rows", type=int, help="Training images; else as params.yaml says.")
@click.option("--epochs", type=int, help="Of stage 1; else as params.yaml says.")
@click.option("--test", type=int, help="Images of val and of test, half of either class; else all.")
@click.option("--draws", default=0, help="Every image clean and distorted so often, where there are few; else halves.")
@click.option("--runs", "runs_path", type=Path, help="CSV, one line a run, from which a killed call goes on.")
@record.out_option
def main(
    path: Path,
    root: Path,
    expert: str | None,
    seeds: int,
    parts: tuple[str, ...],
    rows: int | None,
    epochs: int | None,
    test: int | None,
    draws: int,
    runs_path: Path | None,
    out: Path,
) -> None:
    settings = params.load_section("featdistill", FeatDistillSettings)
    overrides = {"data": {"max_images": rows} if rows else {}, "stage1": {"epochs": epochs} if epochs else {}}
    settings = changed(settings, overrides, 0)
    name, table = expert or next(iter(settings.experts)), manifest.read(path)
    chosen = settings.experts[name].backbone.preprocess
    test_images = {split: build_test(table, split, root, chosen, test, draws) for split in ("val", "test")}
    made_of = {"expert": name, "featdistill": settings.model_dump(), "parts": PARTS}
    runs = record.Runs(runs_path, record.experiment_key(settings=made_of, rows=rows_hash(table, test_images)))
    for seed in range(seeds):
        missing = {part for part in parts or PARTS if not runs.has(part, seed)}
        for row in run(settings, name, table, root, test_images, seed, missing):
            runs.add(row)
    record.publish(summary(runs.table()), f"featdistill_ablation_{path.stem}", out, width=150)


def rows_hash(table: pd.DataFrame, test_images: dict[str, TestImages]) -> str:
    """Return the sha256 of the manifest and of the images that are scored."""
    digest = hashlib.sha256(table.to_csv(index=False).encode())
    for images in test_images.values():
        digest.update(np.ascontiguousarray(images.squares).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
