"""Throughput of FeatDistill's training, against the pure computing of the same steps on images that lie ready.

    python -m benchmarks.featdistill_training --manifest data/manifests/demo.csv --root data/images/demo

Both do the same steps of params.yaml's first expert, in turns; the difference is decoding, degrading and cropping.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from aigid import params
from aigid.data import manifest
from aigid.detectors.featdistill import expert as experts
from aigid.detectors.featdistill.lessons import Batch
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.featdistill.teaching import teaching
from aigid.detectors.featdistill.training import Course, losses, optimiser
from aigid.device import choose_device
from aigid.files import device_name, num_workers

TURNS = 3


def stepper(course: Course, device: torch.device) -> Callable[[Batch], None]:
    """One step of the optimiser on a batch, as the training loop does it but for clipping and the scaler."""
    expert = experts.build(course.expert).to(device).train()
    taught = teaching(expert, course.descent, len(course.train))
    optimizer = optimiser(expert, taught.net, course.descent)

    def step(batch: Batch) -> None:
        torch.stack(list(losses(expert, taught, batch, course.how, device).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(course: Course, steps: int, device: torch.device) -> tuple[float, float]:
    """The least time in which ``steps`` steps were done with their lessons, and without."""
    size, step, whole, pure = course.plan().batch_size, stepper(course, device), [], []
    with ThreadPoolExecutor(num_workers()) as pool:
        for turn in range(TURNS):
            places = np.split(np.arange(steps * size) % len(course.train), steps)
            began, batches = time.perf_counter(), []
            for items in places:
                batches.append(course.train.take(turn, items, pool))
                step(batches[-1])
            middle = time.perf_counter()
            for batch in batches:
                step(batch)
            whole.append(middle - began)
            pure.append(time.perf_counter() - middle)
    return min(whole), min(pure)


@click.command(help=__doc__)
@click.option("--manifest", "path", type=Path, required=True)
@click.option("--root", type=Path, required=True)
@click.option("--steps", default=20, show_default=True)
def main(path: Path, root: Path, steps: int) -> None:
    settings, device = params.load("featdistill", FeatDistillSettings), choose_device(device_name())
    shown = Table("stage", "images/s", "images/s of pure computing", "of the reference", title=f"on {device}")
    for stage in (1, 2):
        course = Course(settings, next(iter(settings.experts)), stage, manifest.read(path), root, 0)
        num = steps * course.plan().batch_size
        whole, pure = seconds(course, steps, device)
        shown.add_row(str(stage), f"{num / whole:.0f}", f"{num / pure:.0f}", f"{pure / whole:.2f}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
