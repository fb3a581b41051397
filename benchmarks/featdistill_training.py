"""Pace of FeatDistill's training, as a share of the pure computing of the same steps on images that lie ready.

    python -m benchmarks.featdistill_training

Both do the same steps of params.yaml's stages on EfficientNet-Lite0, in turns. The difference is decoding, degrading
and cropping, which processes do ahead, on the same cores where there is no GPU: there no pace can be above the share
of computing in the processor time of both, which is the last column.
"""

import resource
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import click
import pandas as pd
import torch
from rich.table import Table

from aigid.core import manifest, params
from aigid.core.files import choose_device, device_name, num_workers
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.losses import build_distiller
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings
from aigid.detectors.featdistill.training import StageRun, training_task
from aigid.training.loop import Trainer
from benchmarks import pictures, record

WARM_UP = 2  # steps, while the processes start


def cpu_seconds(of_children: bool = False) -> float:
    """Seconds of processor time of this process, or of those that it has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(course: StageRun, steps: int, turns: int, device: torch.device, folder: Path) -> dict[str, float]:
    """The least seconds of ``steps`` steps as in training and with their batches at hand, and processor seconds."""
    expert, plan = experts.build(course.expert).to(device), course.plan()
    distiller, best = build_distiller(expert, course.descent, len(course.train)), dict[str, float]()
    for _ in range(turns):
        begun_reading = cpu_seconds(True)
        with closing(Trainer(plan, training_task(course, plan, expert, distiller), folder / "none.pt")) as trainer:
            ahead = trainer.steps()
            done = list(islice(ahead, WARM_UP))
            begun = time.perf_counter()
            for step_info, batch in islice(ahead, steps):
                trainer.step(step_info, batch)
                done.append((step_info, batch))
            total = time.perf_counter() - begun
        read = (cpu_seconds(True) - begun_reading) * steps / len(done)
        begun, begun_computing = time.perf_counter(), cpu_seconds()
        for step_info, batch in done[WARM_UP:]:
            trainer.step(step_info, batch)
        pure, computed = time.perf_counter() - begun, cpu_seconds() - begun_computing
        values = {"total": total, "pure": pure, "read": read, "computed": computed}
        best = {name: min(value, best.get(name, value)) for name, value in values.items()}
    return best


def course_of(settings: FeatDistillSettings, stage: int, size: int, num: int, folder: Path) -> StageRun:
    """A stage at ``size`` px on ``num`` pictures with a side that is a seventh larger."""
    backbone = ExpertSettings(backbone="efficientnet_lite0_96", seed=0).backbone
    preprocess = backbone.preprocess.model_copy(update={"size": size})
    expert = ExpertSettings(backbone=backbone.model_copy(update={"preprocess": preprocess}), seed=0)
    root = folder / f"{stage}-{size}"
    root.mkdir()
    table = manifest.read(pictures.write(root, num, size * 8 // 7))
    table["label"] = [number % 2 for number in range(num)]
    both = pd.concat([table.assign(split=split) for split in ("train", "val")])
    chosen = settings.model_copy(update={"experts": {"lite0": expert}})
    return StageRun(chosen, "lite0", stage, both, root / "images", 0)


@click.command(help=__doc__)
@click.option("--size", "sizes", type=int, multiple=True, default=(64, 224), show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--turns", default=3, show_default=True)
@record.out_option
def main(sizes: tuple[int, ...], steps: int, turns: int, out: Path) -> None:
    settings, device = params.load_section("featdistill", FeatDistillSettings), choose_device(device_name())
    title = (
        f"EfficientNet-Lite0, {device.type}, {num_workers()} processes that read, steps of {settings.stage1.batch_size}"
    )
    columns = "size", "stage", "images/s", "pure computing", "share", "CPU ms to read", "to compute", "share of the CPU"
    table = Table(*columns, title=title)
    for size in sizes:
        for stage in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                num = (steps + WARM_UP + 4) * settings.stage1.batch_size
                course = course_of(settings, stage, size, num, Path(folder))
                times, images = measure(course, steps, turns, device, Path(folder)), steps * course.plan().batch_size
            share = times["computed"] / (times["computed"] + times["read"])
            speeds = (f"{images / times[name]:.0f}" for name in ("total", "pure"))
            each = (f"{1000 * times[name] / images:.1f}" for name in ("read", "computed"))
            table.add_row(
                str(size), str(stage), *speeds, f"{times['pure'] / times['total']:.2f}", *each, f"{share:.2f}"
            )
    record.publish(table, "featdistill_training", out, width=120)


if __name__ == "__main__":
    main()
