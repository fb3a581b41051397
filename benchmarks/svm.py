"""The kernel machine against scikit-learn: `python -m benchmarks.svm [--rows 12000] [--dim 512]`.

Four questions, each a ratio in one run, on unit rows of six classes of three modes each: prediction by one matrix
product against libsvm's own, on the same fitted model; the fit by scikit-learn-intelex (if installed) against
libsvm's; Nystroem kernel ridge against libsvm's fit, its accuracy beside it; a grid on kernels that its cells share.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table
from sklearn.svm import SVC

from aigid.core.errors import InputError
from aigid.detectors.svm.detector import SvmSettings, fit_grid
from aigid.detectors.svm.kernel import from_svc, nystroem, predict, support_vectors
from benchmarks import record

TEST = 6000
SHARED = 4000  # rows of the grid


def data(num: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows (num, dim) float32 and their classes."""
    rng, modes = np.random.default_rng(seed), np.random.default_rng(1).normal(size=(6, 3, dim))
    y = np.arange(num) % 6
    x = modes[y, rng.integers(0, 3, num)] + 3.5 * rng.normal(size=(num, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``run`` gives, its wall time and its processor time in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - cpu


@click.command(help=__doc__)
@click.option("--rows", default=12_000, show_default=True, help="Training rows.")
@click.option("--dim", default=512, show_default=True)
@click.option("--predicted", default=1000, show_default=True, help="Rows that libsvm predicts.")
@record.out_option
def main(rows: int, dim: int, predicted: int, out: Path) -> None:
    (x, y), (outside, truth) = data(rows, dim, 0), data(TEST, dim, 2)
    table = Table("what", "wall s", "CPU s", "times faster (wall)", "accuracy", "same labels")
    svc, fit, cpu = timed(lambda: SVC(C=10, gamma=1.0, class_weight="balanced", cache_size=1000).fit(x, y))
    machine = from_svc(svc, 1.0, x)
    ours, mine, _ = timed(lambda: predict(machine.decision_function(outside), machine.num_classes))
    accuracy = f"{(ours == truth).mean():.4f}"
    table.add_row(
        f"libsvm fit, {rows} x {dim}, {len(machine.centers)} SVs", f"{fit:.1f}", f"{cpu:.1f}", "1", accuracy, ""
    )
    theirs, wall, cpu = timed(lambda: svc.predict(outside[:predicted]))
    each = wall / predicted
    table.add_row(f"libsvm predict, {predicted} rows", f"{wall:.2f}", f"{cpu:.2f}", "1", "", "")
    _, _, cpu = timed(lambda: predict(machine.decision_function(outside), machine.num_classes))
    same = f"{(theirs == ours[:predicted]).mean():.4f}"
    table.add_row(
        f"matrix product, {TEST} rows", f"{mine:.2f}", f"{cpu:.2f}", f"{each / (mine / TEST):.1f}", accuracy, same
    )
    try:
        other, wall, cpu = timed(lambda: support_vectors(x, y, 10, 1.0, intelex=True))
        named = predict(other.decision_function(outside), other.num_classes)
        row = (f"{fit / wall:.1f}", f"{(named == truth).mean():.4f}", f"{(named == ours).mean():.4f}")
        table.add_row("scikit-learn-intelex fit", f"{wall:.1f}", f"{cpu:.1f}", *row)
    except InputError as error:
        table.add_row("scikit-learn-intelex fit", "-", "-", "-", "-", str(error))
    ridge, wall, cpu = timed(lambda: nystroem(x, y, 1e-6, 1.0, 2000, 0))
    named = predict(ridge.decision_function(outside), ridge.num_classes)
    row = (f"{fit / wall:.1f}", f"{(named == truth).mean():.4f}", f"{(named == ours).mean():.4f}")
    table.add_row("Nystroem ridge fit, 2000 landmarks", f"{wall:.1f}", f"{cpu:.1f}", *row)
    grid, alone = {"c": (1.0, 10.0, 100.0), "gamma": (0.5, 1.0, 2.0)}, []
    few = slice(0, min(rows, SHARED))
    settings = SvmSettings(backbone="", dataset="", **grid)
    machines, shared, cpu = timed(lambda: fit_grid(settings, x[few], y[few], 0))
    for c, gamma in machines:
        alone.append(timed(lambda c=c, gamma=gamma: support_vectors(x[few], y[few], c, gamma)))
    separate = sum(seconds for _, seconds, _ in alone)
    named = [predict(machine.decision_function(outside), machine.num_classes) for machine in machines.values()]
    theirs = [predict(machine.decision_function(outside), machine.num_classes) for machine, _, _ in alone]
    row = (f"{separate / shared:.1f}", f"{max((part == truth).mean() for part in named):.4f}")
    same = f"{np.mean(np.array(named) == np.array(theirs)):.4f}"
    name = f"grid of {len(machines)} on shared kernels, {len(x[few])} rows, against libsvm alone"
    table.add_row(name, f"{shared:.1f}", f"{cpu:.1f}", *row, same)
    record.publish(table, "svm", out)


if __name__ == "__main__":
    main()
