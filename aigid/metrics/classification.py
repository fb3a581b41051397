"""Scores in order: the two sorted classes and the counts above each cut, from which every metric is read."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The scores of the reals (N,) and of the fakes (P,), each ascending, so that no digit depends on row order."""

    reals: Floats
    fakes: Floats

    @cached_property
    def thresholds(self) -> Floats:
        """The distinct scores, descending, (K,)."""
        merged = np.sort(np.concatenate([self.reals, self.fakes]))[::-1]
        return merged[np.concatenate([merged[:1] == merged[:1], merged[1:] != merged[:-1]])]

    @cached_property
    def tp(self) -> Counts:
        """How many fakes score at least each cut, (K,)."""
        return len(self.fakes) - np.searchsorted(self.fakes, self.thresholds)

    @cached_property
    def fp(self) -> Counts:
        """How many reals score at least each cut, (K,)."""
        return len(self.reals) - np.searchsorted(self.reals, self.thresholds)

    @property
    def has_both(self) -> bool:
        return len(self.reals) > 0 and len(self.fakes) > 0


def rank(labels: ArrayLike, scores: ArrayLike) -> Ranking:
    """The ranking of scores (N,) in [0, 1] with labels (N,): 0 real, 1 generated."""
    scores, is_fake = np.asarray(scores, np.float64), np.asarray(labels) == 1
    return Ranking(np.sort(scores[~is_fake]), np.sort(scores[is_fake]))


def rank_rows(rows: pd.DataFrame) -> Ranking:
    """The ranking of those rows of a scores file that hold a score."""
    read = rows[rows["score"].notna()]
    return rank(read["label"], read["score"])


# What a ranking says about a detector: how it orders reals and fakes, and how often a threshold is right.


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


# Where to cut: a score above the threshold says generated.

UFD_SAMPLE = 1000
UFD_FALLBACK = 100


def max_accuracy_threshold(ranking: Ranking) -> float:
    """The threshold with the highest accuracy on these very images, found in O(N log N).

    Called on the validation rows it is the validation threshold; called on the test rows, the oracle. Among equally
    good cuts the middle one counts. Cuts lie half-way between neighbouring scores; -1 means that all are called
    generated although some score 0.
    """
    correct = np.concatenate([[0], ranking.tp - ranking.fp])
    best = np.flatnonzero(correct == correct.max())
    return _between(ranking, int(best[(len(best) - 1) // 2]))


def threshold_at_fpr(ranking: Ranking, fpr: float) -> float:
    """The lowest threshold that calls at most the share ``fpr`` of these reals generated."""
    return _between(ranking, int(np.sum(ranking.fp / len(ranking.reals) <= fpr)))


def _between(ranking: Ranking, above: int) -> float:
    """A threshold that exactly the ``above`` highest distinct scores exceed."""
    high = ranking.thresholds[above - 1] if above else 1.0
    low = ranking.thresholds[above] if above < len(ranking.thresholds) else 0.0 if high > 0 else -2.0
    middle = low + (high - low) / 2
    return float(low if middle >= high and above else middle)


def ufd_subsample(reals: Sequence[float], fakes: Sequence[float], seed: int = 0) -> tuple[list[float], list[float]]:
    """The images that UniversalFakeDetect draws: 1,000 a class, or 100 where either class has fewer (dataset.py)."""
    draw = random.Random(seed)
    size = UFD_SAMPLE if min(len(reals), len(fakes)) >= UFD_SAMPLE else UFD_FALLBACK
    sides = list(reals), list(fakes)
    for side in sides:
        draw.shuffle(side)
    return sides[0][:size], sides[1][:size]


def ufd_threshold(reals: Sequence[float], fakes: Sequence[float]) -> float:
    """UniversalFakeDetect's oracle threshold, as its published search finds it (Ojha et al. 2023, validate.py).

    Where the classes separate it lies half-way. Else it is the score ``t`` of the last image, reals before fakes,
    that is as good as any under ``score >= t``; as accuracy is then counted under ``score > t``, that image changes
    sides: the quirk to reproduce.
    """
    real, fake = np.asarray(reals, np.float64), np.asarray(fakes, np.float64)
    if real.max() <= fake.min():
        return float((real.max() + fake.min()) / 2)
    tried = np.concatenate([real, fake])
    correct = np.searchsorted(np.sort(real), tried) + len(fake) - np.searchsorted(np.sort(fake), tried)
    return float(tried[len(tried) - 1 - np.argmax(correct[::-1])])
