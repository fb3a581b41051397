"""Metrics of ranked scores: ROC and precision-recall areas, accuracies at a threshold, and thresholds to choose."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from aigid.core.columns import BLOCK

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Array = NDArray[Any]
MetricValue = float | str  # the number, or why there is none
MetricValues = dict[str, MetricValue]
POINTS = 500  # of a curve
MAX_REVERSED = 0.45  # where the whole interval of an AUROC lies under it, scores seem to mean the contrary


@dataclass(frozen=True)
class Ranking:
    """The scores of the reals (N,) and of the fakes (P,), each ascending, so that no digit depends on row order."""

    reals: Floats
    fakes: Floats

    @cached_property
    def thresholds(self) -> Floats:
        """The distinct scores, descending, (K,)."""
        scores = np.concatenate([self.reals, self.fakes])
        scores.sort()
        return scores[np.append(True, scores[1:] != scores[:-1])[: len(scores)]][::-1]

    @cached_property
    def tp(self) -> Counts:
        """The number of fakes that score at least each threshold, (K,)."""
        return len(self.fakes) - np.searchsorted(self.fakes, self.thresholds)

    @cached_property
    def fp(self) -> Counts:
        """The number of reals that score at least each threshold, (K,)."""
        return len(self.reals) - np.searchsorted(self.reals, self.thresholds)

    @property
    def tpr(self) -> Floats:
        """The share of fakes above no threshold, then at each, (K + 1,)."""
        return np.concatenate([[0.0], self.tp / len(self.fakes)])

    @property
    def fpr(self) -> Floats:
        """The share of reals above no threshold, then at each, (K + 1,)."""
        return np.concatenate([[0.0], self.fp / len(self.reals)])

    @property
    def has_both(self) -> bool:
        return len(self.reals) > 0 and len(self.fakes) > 0


REALS, FAKES, BOTH, ANY = ("reals",), ("fakes",), ("reals", "fakes"), ()


def missing_reason(ranking: Ranking, required_classes: tuple[str, ...], context: str = "test") -> str:
    """Return why the rows of ``context`` cannot serve a metric that needs these classes; empty if they can."""
    absent = [side for side in BOTH if not len(getattr(ranking, side))]
    if len(absent) == 2:
        return f"no readable {context} rows"
    return "".join(f"no readable {context} {side}" for side in absent if side in required_classes)


def rank(labels: ArrayLike, scores: ArrayLike) -> Ranking:
    """Return the ranking of scores (N,) in [0, 1] with labels (N,): 0 real, 1 generated."""
    scores, is_fake = np.asarray(scores, np.float64), np.asarray(labels) == 1
    return Ranking(np.sort(scores[~is_fake]), np.sort(scores[is_fake]))


def rank_rows(rows: pd.DataFrame) -> Ranking:
    """Return the ranking of those rows of a scores file that have a score."""
    readable = scored(rows)
    return rank(readable["label"], readable["score"])


def scored(rows: pd.DataFrame) -> pd.DataFrame:
    """Return those rows of a scores file that have a score: themselves, not a copy, where all do."""
    readable = rows["score"].notna()
    return rows if readable.all() else rows[readable]


def auroc(ranking: Ranking) -> float:
    """Return the chance that a fake scores above a real, ties counting half (Mann-Whitney U / NP)."""
    tp, fp = (np.concatenate([[0], counts]) for counts in (ranking.tp, ranking.fp))
    doubled = int(np.dot(np.diff(fp), tp[1:] + tp[:-1]))
    return doubled / (2 * len(ranking.fakes) * len(ranking.reals))


def average_precision(ranking: Ranking) -> float:
    """Return precision summed over the steps of recall, tied scores being one step (no interpolation)."""
    precision = ranking.tp / (ranking.tp + ranking.fp)
    return float(np.dot(np.diff(ranking.tp, prepend=0), precision)) / len(ranking.fakes)


def tpr_at_fpr(ranking: Ranking, fpr: float) -> float:
    """Return the highest TPR of any threshold whose FPR is at most ``fpr``."""
    allowed = ranking.tp[ranking.fp / len(ranking.reals) <= fpr]
    return int(allowed[-1]) / len(ranking.fakes) if len(allowed) else 0.0


def partial_auroc(ranking: Ranking, fpr: float) -> float:
    """Return the area under the ROC curve up to ``fpr``, standardized so that chance is 0.5 (McClish 1989)."""
    x, y = ranking.fpr, ranking.tpr
    stop = int(np.searchsorted(x, fpr, side="right"))
    x, y = np.append(x[:stop], fpr), np.append(y[:stop], np.interp(fpr, x, y))
    low, high = fpr**2 / 2, fpr
    return float((1 + (np.trapezoid(y, x) - low) / (high - low)) / 2)


RANKED: dict[str, Callable[[Ranking], float]] = {
    "auroc": auroc,
    "ap": average_precision,
    "tpr_at_fpr1": partial(tpr_at_fpr, fpr=0.01),
    "tpr_at_fpr5": partial(tpr_at_fpr, fpr=0.05),
}


def confusion(ranking: Ranking, threshold: float) -> tuple[int, int, int, int]:
    """Return ``tp, fp, tn, fn``; a score above ``threshold`` predicts generated."""
    tn = int(np.searchsorted(ranking.reals, threshold, side="right"))
    fn = int(np.searchsorted(ranking.fakes, threshold, side="right"))
    return len(ranking.fakes) - fn, len(ranking.reals) - tn, tn, fn


def accuracy(ranking: Ranking, threshold: float) -> float:
    """Return the share of images that are classified correctly."""
    tp, fp, tn, fn = confusion(ranking, threshold)
    return (tp + tn) / (tp + fp + tn + fn)


def real_accuracy(ranking: Ranking, threshold: float) -> float:
    """Return the share of reals that are classified correctly (1 - FPR)."""
    _, fp, tn, _ = confusion(ranking, threshold)
    return tn / (tn + fp)


def fake_accuracy(ranking: Ranking, threshold: float) -> float:
    """Return the share of fakes that are classified correctly (TPR, recall)."""
    tp, _, _, fn = confusion(ranking, threshold)
    return tp / (tp + fn)


def balanced_accuracy(ranking: Ranking, threshold: float) -> float:
    """Return the mean of real and fake accuracy."""
    return (real_accuracy(ranking, threshold) + fake_accuracy(ranking, threshold)) / 2


def f1(ranking: Ranking, threshold: float) -> float:
    """Return F1 of the fakes; 0 without a true positive."""
    tp, fp, _, fn = confusion(ranking, threshold)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def f1_macro(ranking: Ranking, threshold: float) -> float:
    """Return the mean of F1 of the fakes and F1 of the reals."""
    _, fp, tn, fn = confusion(ranking, threshold)
    return (f1(ranking, threshold) + (2 * tn / (2 * tn + fp + fn) if tn else 0.0)) / 2


def precision_at(ranking: Ranking, threshold: float, prevalence: float) -> float | None:
    """Return the precision if a share ``prevalence`` of all images were generated (Bayes); None without a positive."""
    true_positives = prevalence * fake_accuracy(ranking, threshold)
    positives = true_positives + (1 - prevalence) * (1 - real_accuracy(ranking, threshold))
    return true_positives / positives if positives else None


def macro_f1(labels: Array, predicted: Array) -> float:
    """Return the mean of F1 over the classes that occur in either (N,) array."""
    classes = np.union1d(labels, predicted)
    true_positives = np.array([np.sum((labels == c) & (predicted == c)) for c in classes])
    sizes = np.array([np.sum(labels == c) + np.sum(predicted == c) for c in classes])
    return float(np.mean(2 * true_positives / sizes))


def max_accuracy_threshold(ranking: Ranking) -> float:
    """Return the threshold with the highest accuracy on these very images, in O(N log N).

    On validation rows this is the validation threshold, on test rows the oracle. Of equally good thresholds the middle
    one counts. They lie half-way between neighboring scores; -1 calls all generated although some score 0.
    """
    correct = np.concatenate([[0], ranking.tp - ranking.fp])
    best = np.flatnonzero(correct == correct.max())
    return _between(ranking, int(best[(len(best) - 1) // 2]))


def threshold_at_fpr(ranking: Ranking, fpr: float) -> float:
    """Return the lowest threshold that calls at most the share ``fpr`` of these reals generated."""
    return _between(ranking, int(np.sum(ranking.fp / len(ranking.reals) <= fpr)))


def _between(ranking: Ranking, above: int) -> float:
    """Return a threshold that exactly the ``above`` highest distinct scores exceed."""
    high = ranking.thresholds[above - 1] if above else 1.0
    low = ranking.thresholds[above] if above < len(ranking.thresholds) else 0.0 if high > 0 else -2.0
    middle = low + (high - low) / 2
    return float(low if middle >= high and above else middle)


def roc(ranking: Ranking) -> pd.DataFrame:
    """Return columns ``fpr, tpr`` from (0, 0) to (1, 1), at most ``POINTS`` rows."""
    x, y = ranking.fpr, ranking.tpr
    points = thin(x, y, POINTS)
    return pd.DataFrame({"fpr": x[points], "tpr": y[points]})


def precision_recall(ranking: Ranking) -> pd.DataFrame:
    """Return columns ``recall, precision``, recall ascending from 0, at most ``POINTS`` rows."""
    precision, x = ranking.tp / (ranking.tp + ranking.fp), ranking.tpr
    y = np.concatenate([precision[:1], precision])
    points = thin(x, y, POINTS)
    return pd.DataFrame({"recall": x[points], "precision": y[points]})


def thin(x: Floats, y: Floats, points: int) -> NDArray[np.int64]:
    """Return the indices of a curve's points (K,) to plot: first and last, corners, and then evenly by length.

    Points inside a straight run change nothing and go first. If more than ``points`` corners remain, those nearest to
    equal steps of the curve's length |dx| + |dy| stay, so that the plotted line moves by at most one step.
    """
    moved = np.flatnonzero(np.concatenate([[True], (np.diff(x) != 0) | (np.diff(y) != 0)]))
    bends = []
    for start in range(0, len(moved) - 2, BLOCK):
        part = moved[start : start + BLOCK + 2]
        dx, dy = np.diff(x[part]), np.diff(y[part])
        bends.append(np.abs(dx[1:] * dy[:-1] - dx[:-1] * dy[1:]) > 1e-15)
    corners = moved[np.concatenate([[True], *bends, [True]])] if len(moved) > 1 else moved
    if len(corners) <= points:
        return corners
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x[corners])) + np.abs(np.diff(y[corners])))])
    steps = np.linspace(0, length[-1], points)
    return np.asarray(corners[np.unique(np.searchsorted(length, steps).clip(max=len(corners) - 1))])
