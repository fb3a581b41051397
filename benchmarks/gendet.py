"""How fast GenDet trains: its epochs against the bare steps and against a loader that reads one row at a time.

python -m benchmarks.gendet [--rows 100000] [--tokens 4] [--tokens 1] [--memory-rows 720000]

``ours`` is one epoch of the student on reals, rows drawn from the tensor on the device; ``bare`` the same steps on one
fixed batch; ``loader`` the same steps fed by a DataLoader over a Dataset that reads single rows with h5py. ``stacked``
trains three students as one model (torch.func) and is set against three after another. The second table is the peak
memory of a process that reads as many made-up rows from an embedding file and trains teacher, student, augmenter and
classifier on them, an epoch each, as a ratio to the rows themselves in float32: with the libraries, which torch's CUDA
build alone makes most of a gigabyte, and without.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import h5py
import numpy as np
import pandas as pd
import torch
from rich.table import Table
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

from aigid.core import embeddings, manifest
from aigid.core.files import choose_device, device_name
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.model import Student, real_loss
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.samples import open_dataset
from aigid.training.tabular import adamw, reset_parameters, torch_generator, train_epoch
from benchmarks import record

DIM, BATCH, SEEDS, SHARE = 768, 256, 3, 10  # the loader and the bare steps run on one row in SHARE, scaled


class RowByRow(torch.utils.data.Dataset):
    """What papers' code often does."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, None
        with h5py.File(path) as file:
            self.num = len(file["x"])

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, row: int) -> Tensor:
        self.file = self.file or h5py.File(self.path)
        return torch.from_numpy(self.file["x"][row]).float()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def epochs(rows: int, tokens: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds an epoch: ours, bare, loader; ours and bare interleaved, the shorter of two runs."""
    shape = TeacherSettings(learning_rate=1e-4, num_tokens=tokens)
    student, teacher = (reset_parameters(Student(DIM, shape), torch_generator(key)).to(device) for key in "st")
    optimizer = adamw(student, 1e-4, 0.01)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, DIM, generator=draw).to(device)
    fixed = x[:BATCH].clone()

    def loss(batch: Tensor) -> Tensor:
        with torch.no_grad():
            zt = teacher(batch)
        return real_loss(zt, student(batch))

    def ours() -> None:
        train_epoch(optimizer, lambda numbers: loss(x[numbers]), rows, BATCH, draw, device)

    def step(batch: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()

    def bare() -> None:
        for _ in range(-(-rows // BATCH)):
            step(fixed)

    for _ in range(5):
        step(fixed)
    pairs = [(seconds(ours, device), seconds(bare, device)) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.h5")
        with h5py.File(path, "w") as file:
            file["x"] = x.cpu().numpy().astype(np.float16)[: rows // SHARE]
        loader = torch.utils.data.DataLoader(RowByRow(path), BATCH, shuffle=True)
        slow = seconds(lambda: [step(batch.to(device)) for batch in loader], device) * SHARE
    return min(ours for ours, _ in pairs), min(bare for _, bare in pairs), slow


def stacked(tokens: int, device: torch.device, steps: int = 20) -> tuple[float, float]:
    """Seconds of some steps of ``SEEDS`` students: one after another, and as one stacked model."""
    shape = TeacherSettings(learning_rate=1e-4, num_tokens=tokens)
    students = [reset_parameters(Student(DIM, shape), torch_generator("bench", k)).to(device) for k in range(SEEDS)]
    x = torch.randn(SEEDS, BATCH, DIM, device=device)
    zt = torch.randn(SEEDS, BATCH, tokens * shape.width, device=device)
    optimizers = [adamw(student, 1e-4, 0.01) for student in students]
    parameters, _ = stack_module_state(students)
    parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    together = torch.optim.AdamW(parameters.values(), lr=1e-4, fused=True)
    forward = torch.vmap(lambda state, batch: functional_call(students[0], state, batch))

    def in_turn() -> None:
        for student, optimizer, batch, target in zip(students, optimizers, x, zt, strict=True):
            optimizer.zero_grad(set_to_none=True)
            real_loss(target, student(batch)).backward()
            optimizer.step()

    def at_once() -> None:
        together.zero_grad(set_to_none=True)
        (forward(parameters, x) - zt).square().mean(dim=(1, 2)).sum().backward()
        together.step()

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot be stacked
        in_turn(), at_once()
        times = [[seconds(work, device) for work in (in_turn, at_once)] for _ in range(steps)]
    return tuple(np.median(times, axis=0) * steps)


def write_rows(folder: Path, rows: int) -> None:
    """A manifest, one row in ten for validation, and an embedding file of float16 rows that tell a little."""
    numbers = np.arange(rows)
    label, sha256 = numbers % 2, [f"{number:064x}" for number in numbers]
    table = pd.DataFrame(
        {
            "path": [f"{number:07}.png" for number in numbers],
            "label": label,
            "generator": np.where(label, "progan", "real"),
            "split": np.where(numbers % 10, "train", "val"),
            "sha256": sha256,
        }
    )
    table.to_csv(folder / "manifest.csv", index=False)
    draw, attributes = np.random.default_rng(0), {"seed": 0, "fingerprint": ["made up"]}
    shape = {"clean": (DIM, "float16")}
    with embeddings.create(folder / "rows.h5", shape, sha256, ["ok"] * rows, attributes) as columns:
        for start in range(0, rows, 10_000):
            block = draw.standard_normal((len(numbers[start : start + 10_000]), DIM), np.float32)
            block += 0.2 * label[start : start + 10_000, None]
            columns["clean"].write(start, block.astype(np.float16))


def peak_memory() -> float:
    """Of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def train_all(folder: Path) -> tuple[float, float]:
    """Train everything once on the rows of a folder; return the peak memory in GB before there was a row, and after."""
    adamw(torch.nn.Linear(1, 1), 1e-4, 0.0)  # the first optimizer imports a part of torch
    libraries = peak_memory()
    samples = open_dataset(manifest.read(folder / "manifest.csv"), [folder / "rows.h5"])
    rates = {"batch_size": 1024, "learning_rate": 1e-4}
    once = {"epochs": 1, **rates}
    teacher = once | {"num_tokens": 1}
    section = {"backbone": "b", "dataset": "d", "num_rotations": 1, **rates, "teacher": teacher, "classifier": once}
    settings = GenDetSettings.model_validate(section)
    GenDet.fit(settings, samples.split("train"), samples.split("val"), 0)
    return libraries, peak_memory()


def measure_pace(rows: int, tokens: tuple[int, ...], out: Path) -> None:
    device = choose_device(device_name())
    title = f"one epoch, {rows} x {DIM}, batch {BATCH}, {device}, {torch.get_num_threads()} threads"
    table = Table("tokens", "ours (s)", "ours / bare", "loader / ours", "in turn / stacked", title=title)
    for num in tokens:
        ours, bare, loader = epochs(rows, num, device)
        in_turn, at_once = stacked(num, device)
        cells = (f"{ours:.1f}", f"{ours / bare:.2f}", f"{loader / ours:.1f}", f"{in_turn / at_once:.2f}")
        table.add_row(str(num), *cells)
    record.publish(table, "gendet", out)


@click.command(help=__doc__)
@click.option("--rows", default=100_000, show_default=True, help="Of the first table; 0 leaves it out.")
@click.option("--tokens", multiple=True, type=int, default=(4, 1), show_default=True)
@click.option("--memory-rows", default=720_000, show_default=True, help="As many as UniversalFakeDetect trains on.")
@record.out_option
def main(rows: int, tokens: tuple[int, ...], memory_rows: int, out: Path) -> None:
    if rows:
        measure_pace(rows, tokens, out)
    with tempfile.TemporaryDirectory() as name:
        write_rows(Path(name), memory_rows)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            libraries, peak = pool.submit(train_all, Path(name)).result()
    size = memory_rows * DIM * 4 / 1e9
    columns = "rows", "width", "features (GB)", "peak (GB)", "libraries (GB)", "peak / features", "without libraries"
    table = Table(*columns, title="memory of a training")
    figures = size, peak, libraries, peak / size, (peak - libraries) / size
    table.add_row(str(memory_rows), str(DIM), *(f"{figure:.2f}" for figure in figures))
    record.publish(table, "gendet_memory", out)


if __name__ == "__main__":
    main()
