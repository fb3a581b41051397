"""What a ranking says about a detector: how it orders reals and fakes, and how often a threshold is right."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aigid.evaluation.ranking import Ranking


def auroc(ranking: Ranking) -> float:
    """Chance that a fake scores above a real, ties counting half (Mann-Whitney U / NP)."""
    tp = np.concatenate([[0], ranking.tp])
    fp = np.concatenate([[0], ranking.fp])
    doubled = int(np.dot(np.diff(fp), tp[1:] + tp[:-1]))
    return doubled / (2 * len(ranking.fakes) * len(ranking.reals))


def average_precision(ranking: Ranking) -> float:
    """Precision summed over the steps of recall, tied scores being one step (no interpolation)."""
    precision = ranking.tp / (ranking.tp + ranking.fp)
    return float(np.dot(np.diff(ranking.tp, prepend=0), precision)) / len(ranking.fakes)


def tpr_at_fpr(ranking: Ranking, fpr: float) -> float:
    """The most fakes found by any threshold that calls at most the share ``fpr`` of the reals generated."""
    allowed = ranking.tp[ranking.fp / len(ranking.reals) <= fpr]
    return int(allowed[-1]) / len(ranking.fakes) if len(allowed) else 0.0


def partial_auroc(ranking: Ranking, fpr: float) -> float:
    """Area under the ROC curve up to ``fpr``, standardised so that chance is 0.5 (McClish 1989)."""
    x = np.concatenate([[0.0], ranking.fp / len(ranking.reals)])
    y = np.concatenate([[0.0], ranking.tp / len(ranking.fakes)])
    stop = int(np.searchsorted(x, fpr, side="right"))
    x, y = np.append(x[:stop], fpr), np.append(y[:stop], np.interp(fpr, x, y))
    low, high = fpr**2 / 2, fpr
    return float((1 + (np.trapezoid(y, x) - low) / (high - low)) / 2)


def confusion(ranking: Ranking, threshold: float) -> tuple[int, int, int, int]:
    """``tp, fp, tn, fn`` where only a score above ``threshold`` says generated."""
    tn = int(np.searchsorted(ranking.reals, threshold, side="right"))
    fn = int(np.searchsorted(ranking.fakes, threshold, side="right"))
    return len(ranking.fakes) - fn, len(ranking.reals) - tn, tn, fn


def accuracy(ranking: Ranking, threshold: float) -> float:
    """The share of all images on the right side."""
    tp, fp, tn, fn = confusion(ranking, threshold)
    return (tp + tn) / (tp + fp + tn + fn)


def real_accuracy(ranking: Ranking, threshold: float) -> float:
    """The share of reals on the right side (1 - FPR)."""
    _, fp, tn, _ = confusion(ranking, threshold)
    return tn / (tn + fp)


def fake_accuracy(ranking: Ranking, threshold: float) -> float:
    """The share of fakes on the right side (TPR, recall)."""
    tp, _, _, fn = confusion(ranking, threshold)
    return tp / (tp + fn)


def balanced_accuracy(ranking: Ranking, threshold: float) -> float:
    """The mean of real and fake accuracy."""
    return (real_accuracy(ranking, threshold) + fake_accuracy(ranking, threshold)) / 2


def f1(ranking: Ranking, threshold: float) -> float:
    """F1 of the fakes; 0 where none is found."""
    tp, fp, _, fn = confusion(ranking, threshold)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def f1_macro(ranking: Ranking, threshold: float) -> float:
    """The mean of F1 of the fakes and F1 of the reals."""
    _, fp, tn, fn = confusion(ranking, threshold)
    return (f1(ranking, threshold) + (2 * tn / (2 * tn + fp + fn) if tn else 0.0)) / 2


def precision_at(ranking: Ranking, threshold: float, prevalence: float) -> float | None:
    """Share of generated images among the alarms if they were ``prevalence`` of all (Bayes); None without an alarm."""
    hits = prevalence * fake_accuracy(ranking, threshold)
    alarms = hits + (1 - prevalence) * (1 - real_accuracy(ranking, threshold))
    return hits / alarms if alarms else None


def macro_f1(truth: NDArray, predicted: NDArray) -> float:
    """The plain mean of F1 over the classes that occur in either (N,) array."""
    classes = np.union1d(truth, predicted)
    hits = np.array([np.sum((truth == c) & (predicted == c)) for c in classes])
    sizes = np.array([np.sum(truth == c) + np.sum(predicted == c) for c in classes])
    return float(np.mean(2 * hits / sizes))


RANKED: dict[str, Callable[[Ranking], float]] = {
    "auroc": auroc,
    "ap": average_precision,
    "tpr_at_fpr1": partial(tpr_at_fpr, fpr=0.01),
    "tpr_at_fpr5": partial(tpr_at_fpr, fpr=0.05),
}
