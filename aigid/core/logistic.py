"""Logistic regression on a few features, as calibrators, Platt's sigmoids and stacked detectors need it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Floats = NDArray[np.floating[Any]]


def fit_logistic(features: Floats, labels: ArrayLike, num_slopes: int) -> Floats:
    """Return the weights (F,) of logistic regression on features (N, F), the first ``num_slopes`` of them not negative.

    The labels are smoothed by one imaginary image a class (Platt 1999), so that separable scores have a solution.
    """
    from scipy.optimize import minimize  # here, as `predict` has no use for it

    labels = np.asarray(labels, np.float64)
    num = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (num[0] + 1) / (num[0] + 2), 1 / (num[1] + 2))

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = features @ weights
        return float(np.mean(np.logaddexp(0, z) - target * z)), features.T @ (expit(z) - target) / len(z)

    start = np.where(np.arange(features.shape[1]) < num_slopes, 1.0, 0.0)
    bounds = [(0, None)] * num_slopes + [(None, None)] * (features.shape[1] - num_slopes)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    weights: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return weights
