"""Special functions, quantiles and logistic regression, so that a verdict or an evaluation need not install SciPy."""

import math
from functools import lru_cache
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
MAX_TERMS, MAX_STEPS = 1_000_000, 200
normal_quantile = NormalDist().inv_cdf


def expit(x: ArrayLike) -> Floats:
    """Return the logistic function 1 / (1 + exp(-x)), in the dtype of ``x``."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


def logit(p: ArrayLike) -> Floats:
    """Return ln(p / (1 - p)); infinite at 0 and 1."""
    p = np.asarray(p)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p) - np.log1p(-p))


def normal_cdf(x: float) -> float:
    """Return the share of a standard normal distribution below ``x``; the lower tail keeps its digits."""
    return math.erfc(-x / math.sqrt(2)) / 2


@lru_cache
def student_quantile(df: float, p: float) -> float:
    """Return the quantile at ``p`` of Student's t with ``df`` degrees of freedom."""
    share = beta_quantile(0.5, df / 2, abs(1 - 2 * p))  # t^2 / (df + t^2)
    return math.copysign(math.sqrt(df * share / (1 - share)), p - 0.5)


def beta_quantile(a: float, b: float, p: float) -> float:
    """Return the quantile at ``p`` of Beta(a, b): Newton's steps, halved where they leave the bracket."""
    low, high, x = 0.0, 1.0, a / (a + b)
    for _ in range(MAX_STEPS):
        error = beta_cdf(a, b, x) - p
        low, high = (low, x) if error > 0 else (x, high)
        density = math.exp((a - 1) * math.log(x) + (b - 1) * math.log1p(-x) - _log_beta(a, b))
        before, x = x, x - error / density if density else low
        if not low < x < high:
            x = (low + high) / 2
        if abs(x - before) <= 1e-15 * x:
            break
    return x


def beta_cdf(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), 0 < x < 1 (DLMF 8.17.22, by Lentz' method)."""
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(b, a, 1 - x)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, MAX_TERMS):
        k = a + 2 * m
        for term in (m * (b - m) * x / ((k - 1) * k), -(a + m) * (a + b + m) * x / (k * (k + 1))):
            c, d = 1 + term / c, 1 / (1 + term * d)
            fraction *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) * fraction / a


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def isotonic_regression(y: ArrayLike, weights: ArrayLike) -> Floats:
    """Return the non-decreasing values (N,) nearest to ``y`` in weighted squares, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, rows
    for mean, weight in zip(np.asarray(y, float).tolist(), np.asarray(weights, float).tolist(), strict=True):
        rows = 1
        while blocks and blocks[-1][0] >= mean:
            other, more, num = blocks.pop()
            mean, weight, rows = (other * more + mean * weight) / (more + weight), weight + more, rows + num
        blocks.append((mean, weight, rows))
    means, _, sizes = zip(*blocks, strict=True)
    return np.repeat(means, sizes)


MAX_NEWTON_STEPS = 500
SMALL = 1e-14  # nats that a step can gain: the last one, as rounding hides what it does to the loss


def fit_logistic(features: Floats, labels: ArrayLike, num_slopes: int) -> Floats:
    """Return the weights (F,) of logistic regression on features (N, F), the first ``num_slopes`` of them not negative.

    The labels are smoothed by one imaginary image a class (Platt 1999), so that separable scores have a solution. By
    Newton's steps, which end where a slope reaches 0 and leave out the slopes that the gradient holds there.
    """
    labels = np.asarray(labels, np.float64)
    num = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (num[0] + 1) / (num[0] + 2), 1 / (num[1] + 2))
    is_slope = np.arange(features.shape[1]) < num_slopes

    def loss(weights: Floats) -> float:
        z = features @ weights
        return float(np.mean(np.logaddexp(0, z) - target * z))

    weights: Floats = np.where(is_slope, 1.0, 0.0)
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(features @ weights)
        gradient = features.T @ (p - target) / len(p)
        at_bound = is_slope & (weights == 0)
        hessian = (features.T * (p * (1 - p))) @ features / len(p)
        step = _newton_step(hessian, gradient, at_bound)
        gain = gradient @ step
        room = np.where(is_slope & (step > 0), weights / np.where(step > 0, step, 1), np.inf)  # to each bound
        scale, before = min(1.0, room.min()), loss(weights)
        while gain * scale > SMALL and loss(weights - scale * step) > before - 1e-4 * scale * gain:
            scale /= 2
        weights = np.where(room <= scale, 0.0, weights - scale * step)
        if gain <= SMALL and scale == 1:
            break
    return weights


def _newton_step(hessian: Floats, gradient: Floats, at_bound: NDArray[np.bool_]) -> Floats:
    """Return the step (F,), to be subtracted, that moves no weight of ``at_bound`` (F,) below 0."""
    free = ~at_bound | (gradient < 0)
    while True:
        step = np.zeros_like(gradient)
        step[free] = np.linalg.lstsq(hessian[np.ix_(free, free)], gradient[free], rcond=None)[0]
        if not (outward := at_bound & (step > 0)).any():
            return step
        free &= ~outward


def fit_platt(decisions: Floats, y: NDArray[np.int64], num_classes: int) -> tuple[Floats, Floats]:
    """Fit slopes and offsets (P,) of each pair's sigmoid on validation decisions (N, P) (Platt 1999, his targets)."""
    fits = []
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        rows = (y == i) | (y == j)
        fits.append(_sigmoid(decisions[rows, column], y[rows] == i))
    slopes, offsets = np.array(fits).T
    return slopes, offsets


def _sigmoid(decisions: Floats, positives: NDArray[np.bool_]) -> Floats:
    scale = max(decisions.std(), 1e-12)
    slope, offset = fit_logistic(np.column_stack([decisions / scale, np.ones(len(decisions))]), positives, 1)
    return np.array([slope / scale, offset])
