"""How fast GenDet trains: its epochs against the bare steps and against a loader that reads one row at a time.

python -m benchmarks.gendet [--rows 100000] [--tokens 4] [--tokens 1]

``ours`` is one epoch of the student on reals, rows drawn from the tensor on the device; ``bare`` the same steps on one
fixed batch; ``loader`` the same steps fed by a DataLoader over a Dataset that reads single rows with h5py. ``stacked``
trains three students as one model (torch.func) and is set against three after another.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import h5py
import numpy as np
import torch
from rich.table import Table
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

from aigid.core.files import choose_device, device_name
from aigid.detectors.gendet.model import Student, real_loss
from aigid.detectors.gendet.settings import TeacherSettings
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

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        self.file = self.file or h5py.File(self.path)
        return torch.from_numpy(self.file["x"][row]).float(), torch.from_numpy(self.file["zt"][row]).float()


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
    student = reset_parameters(Student(DIM, shape), torch_generator("bench")).to(device)
    optimizer = adamw(student, 1e-4, 0.01)
    draw = torch.Generator().manual_seed(0)
    x, zt = (torch.randn(rows, dim, generator=draw).to(device) for dim in (DIM, tokens * shape.width))
    fixed = x[:BATCH].clone(), zt[:BATCH].clone()

    def ours() -> None:
        train_epoch(optimizer, lambda rows: real_loss(zt[rows], student(x[rows])), rows, BATCH, draw, device)

    def step(batch: Tensor, target: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        real_loss(target, student(batch)).backward()
        optimizer.step()

    def bare() -> None:
        for _ in range(-(-rows // BATCH)):
            step(*fixed)

    for _ in range(5):
        step(*fixed)
    pairs = [(seconds(ours, device), seconds(bare, device)) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.h5")
        with h5py.File(path, "w") as file:
            file["x"], file["zt"] = (part.cpu().numpy().astype(np.float16)[: rows // SHARE] for part in (x, zt))
        loader = torch.utils.data.DataLoader(RowByRow(path), BATCH, shuffle=True)
        slow = seconds(lambda: [step(a.to(device), b.to(device)) for a, b in loader], device) * SHARE
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


@click.command(help=__doc__)
@click.option("--rows", default=100_000, show_default=True)
@click.option("--tokens", multiple=True, type=int, default=(4, 1), show_default=True)
@record.out_option
def main(rows: int, tokens: tuple[int, ...], out: Path) -> None:
    device = choose_device(device_name())
    title = f"one epoch, {rows} x {DIM}, batch {BATCH}, {device}, {torch.get_num_threads()} threads"
    table = Table("tokens", "ours (s)", "ours / bare", "loader / ours", "in turn / stacked", title=title)
    for num in tokens:
        ours, bare, loader = epochs(rows, num, device)
        in_turn, at_once = stacked(num, device)
        cells = (f"{ours:.1f}", f"{ours / bare:.2f}", f"{loader / ours:.1f}", f"{in_turn / at_once:.2f}")
        table.add_row(str(num), *cells)
    record.publish(table, "gendet", out)


if __name__ == "__main__":
    main()
