"""Throughput of FeatDistill's training, against the pure computing of the same steps on images that lie ready.

    python -m benchmarks.featdistill_training --manifest data/manifests/demo.csv --root data/images/demo

Both do the same steps of params.yaml's first expert, in turns; the difference is decoding, degrading and cropping,
which threads do for the next step while this one is computed.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import click
import torch
from rich.table import Table

from aigid.core import manifest, params
from aigid.core.files import choose_device, device_name, num_workers
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.losses import build_distiller
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.featdistill.training import StageRun, training_task
from aigid.training.loop import Trainer
from benchmarks import record

TURNS = 3


def seconds(course: StageRun, steps: int, device: torch.device, folder: Path) -> tuple[float, float]:
    """The least time in which the training loop did ``steps`` steps, and did them again with the batches at hand."""
    expert, plan, total, pure = experts.build(course.expert).to(device), course.plan(), [], []
    distiller = build_distiller(expert, course.descent, len(course.train))
    with ThreadPoolExecutor(num_workers()) as pool:
        run = Trainer(plan, training_task(course, plan, expert, distiller, pool), folder / f"{course.stage}.pt")
        for _ in range(TURNS):
            began, done = time.perf_counter(), []
            with closing(run.steps()) as ahead:
                for here, passes in islice(ahead, steps):
                    run.step(here, passes)
                    done.append((here, passes))
            middle = time.perf_counter()
            for here, passes in done:
                run.step(here, passes)
            total.append(middle - began)
            pure.append(time.perf_counter() - middle)
    return min(total), min(pure)


@click.command(help=__doc__)
@click.option("--manifest", "path", type=Path, required=True)
@click.option("--root", type=Path, required=True)
@click.option("--steps", default=20, show_default=True)
@record.out_option
def main(path: Path, root: Path, steps: int, out: Path) -> None:
    settings, device = params.load_section("featdistill", FeatDistillSettings), choose_device(device_name())
    table = Table("stage", "images/s", "images/s of pure computing", "of the reference", title=f"on {device}")
    for stage in (1, 2):
        course = StageRun(settings, next(iter(settings.experts)), stage, manifest.read(path), root, 0)
        num = steps * course.plan().batch_size
        with tempfile.TemporaryDirectory() as folder:
            total, pure = seconds(course, steps, device, Path(folder))
        table.add_row(str(stage), f"{num / total:.0f}", f"{num / pure:.0f}", f"{pure / total:.2f}")
    record.publish(table, "featdistill_training", out, width=100)


if __name__ == "__main__":
    main()
