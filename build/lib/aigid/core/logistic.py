"""Logistic regression on a few features, as calibrators, Platt's sigmoids and stacked detectors need it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigid.core.special import expit

Floats = NDArray[np.floating[Any]]
MAX_STEPS = 500
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
    for _ in range(MAX_STEPS):
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
