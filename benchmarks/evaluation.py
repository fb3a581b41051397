"""How fast the judge is against scikit-learn: every metric and curve of a million scores, and a bootstrap.

python -m benchmarks.evaluation
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from rich.table import Table
from sklearn import metrics as sk

from aigid.evaluation import breakdown
from aigid.metrics import calibration, classification, resampling
from aigid.metrics.classification import rank
from benchmarks import record

DRAWS, TIMED = 1000, 20


def simulate(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and scores (N,) of a middling detector."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, num)
    return labels, 1 / (1 + np.exp(-rng.normal(1.5 * labels - 0.75, 1)))


def everything(labels: np.ndarray, scores: np.ndarray) -> None:
    """All scalar metrics at three thresholds and all curves, from nothing."""
    ranking = rank(labels, scores)
    breakdown.threshold_free_metrics(ranking)
    thresholds = {"05": 0.5, "val": 0.4, "oracle": classification.max_accuracy_threshold(ranking)}
    breakdown.threshold_metrics(ranking, thresholds)
    classification.roc(ranking)
    classification.precision_recall(ranking)
    calibration.reliability_curve(ranking, calibration.EQUAL_WIDTH)


def two_calls(labels: np.ndarray, scores: np.ndarray) -> None:
    """What ``everything`` is measured against."""
    sk.roc_auc_score(labels, scores)
    sk.average_precision_score(labels, scores)


def resampled(labels: np.ndarray, scores: np.ndarray) -> None:
    """AUROC, AP and TPR at 5 % FPR of ``TIMED`` bootstrap samples, one call each."""
    rng = np.random.default_rng(0)
    for _ in range(TIMED):
        rows = rng.integers(0, len(labels), len(labels))
        label, score = labels[rows], scores[rows]
        two_calls(label, score)
        fpr, tpr, _ = sk.roc_curve(label, score)
        tpr[fpr <= 0.05].max()


def bootstrapped(labels: np.ndarray, scores: np.ndarray) -> None:
    """The same metrics, and TPR at 1 % FPR, of ``DRAWS`` samples."""
    resampling.bootstrap(resampling.population(labels, scores), DRAWS, np.random.default_rng(0))


def seconds(work: Callable[[np.ndarray, np.ndarray], None], *data: np.ndarray, repeats: int = 1) -> float:
    """The shortest of ``repeats`` runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work(*data)
        times.append(time.perf_counter() - start)
    return min(times)


@click.command(help=__doc__)
@record.out_option
def main(out: Path) -> None:
    table = Table("what", "scores", "ours (s)", "scikit-learn (s)", "ratio")
    data = simulate(1_000_000)
    ours, theirs = seconds(everything, *data, repeats=3), seconds(two_calls, *data, repeats=3)
    table.add_row(
        "all metrics and curves / AUROC + AP", "1000000", f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}"
    )
    for num in (1_000, 10_000, 100_000):
        data = simulate(num)
        ours, theirs = seconds(bootstrapped, *data), seconds(resampled, *data) * DRAWS / TIMED
        name = f"loop of resampled calls, {TIMED} scaled to {DRAWS} / {DRAWS} draws"
        table.add_row(name, str(num), f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.0f}")
    record.publish(table, "evaluation", out)


if __name__ == "__main__":
    main()
