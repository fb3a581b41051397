"""Verdicts with a promise: a threshold that keeps false alarms rare, and abstention where either class is likely."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from aigid.base.errors import InputError
from aigid.evaluation import intervals, thresholds
from aigid.evaluation.metrics import fake_accuracy
from aigid.evaluation.ranking import Floats, Ranking

REAL, UNCERTAIN, GENERATED = "real", "uncertain", "generated"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for a target FPR: the FPR on the ``num_real`` reals that chose it, and its upper bound."""

    threshold: float
    fpr: float
    fpr_bound: float
    tpr: float
    num_real: int


def operating_point(ranking: Ranking, fpr: float, level: float = 0.95, groups: NDArray | None = None) -> OperatingPoint:
    """The lowest threshold whose FPR on these validation images is at most ``fpr``, with its confidence bound.

    The true FPR above the (k + 1)-th highest of n reals is Beta(k + 1, n - k) distributed; ``fpr_bound`` is its
    quantile at ``level``, the one-sided bound of Clopper and Pearson (1934). Reals of one of the ``groups`` (n,), in
    the order of ``ranking.reals``, count as few as they are independent.
    """
    if not 0 <= fpr < 1:
        raise InputError(f"target FPR {fpr}: want a share from 0 to below 1")
    threshold = thresholds.at_most_fpr(ranking, fpr)
    called = ranking.reals > threshold
    share, num = float(called.mean()), intervals.num_effective(called, groups)
    bound = float(betaincinv(share * num + 1, num * (1 - share), level)) if share < 1 else 1.0
    return OperatingPoint(threshold, share, bound, fake_accuracy(ranking, threshold), len(called))


@dataclass(frozen=True)
class Abstainer:
    """Real is possible up to ``highest_real``, generated from ``lowest_fake`` on; each misses a share ``alpha``."""

    highest_real: float
    lowest_fake: float
    alpha: float

    def possible(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Which classes each score allows, (N, 2): real, generated."""
        scores = np.asarray(scores, np.float64)
        return np.stack([scores <= self.highest_real, scores >= self.lowest_fake], axis=1)

    def verdicts(self, scores: ArrayLike) -> NDArray[np.str_]:
        """``real`` or ``generated`` where that class alone is possible, else ``uncertain``, (N,)."""
        real, fake = self.possible(scores).T
        return np.where(real == fake, UNCERTAIN, np.where(real, REAL, GENERATED))


def abstainer(ranking: Ranking, alpha: float) -> Abstainer:
    """Split-conformal abstention, class by class (Vovk 2012, label-conditional): from validation images only.

    Of new images like these, at least a share 1 - ``alpha`` of each class keeps its class possible, so that at most
    ``alpha`` of the reals are called generated and as many fakes real. A class of fewer than 1 / alpha - 1 images is
    always possible.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha {alpha}: want a share between 0 and 1")
    return Abstainer(_quantile(ranking.reals, alpha, 1.0), -_quantile(-ranking.fakes[::-1], alpha, 0.0), alpha)


def coverage(found: Abstainer, ranking: Ranking) -> dict[str, float]:
    """Measured on test images, per class there is: how often it stays possible, is called wrongly, left uncertain."""
    shares = {}
    for name, scores, column, wrong in (("real", ranking.reals, 0, GENERATED), ("fake", ranking.fakes, 1, REAL)):
        if len(scores):
            verdicts = found.verdicts(scores)
            shares[f"coverage_{name}"] = float(found.possible(scores)[:, column].mean())
            shares[f"wrong_{name}"] = float(np.mean(verdicts == wrong))
            shares[f"uncertain_{name}"] = float(np.mean(verdicts == UNCERTAIN))
    return shares


def _quantile(strangeness: Floats, alpha: float, most: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of ascending values (n,), or ``most`` beyond them."""
    place = int(np.ceil((len(strangeness) + 1) * (1 - alpha) - 1e-9))
    return float(strangeness[place - 1]) if place <= len(strangeness) else most
