"""Fit a kernel machine: libsvm, the same problem by oneDAL, or Nystroem kernel ridge for large sets."""

from itertools import combinations
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, xlogy

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.detectors.svm.machine import Machine, rbf


def support_vectors(x: np.ndarray, y: np.ndarray, c: float, gamma: float, intelex: bool = False) -> Machine:
    """scikit-learn's balanced RBF ``SVC``, as arrays; with ``intelex`` it is scikit-learn-intelex's."""
    svc = _svc(intelex)(C=c, gamma=gamma, class_weight="balanced", cache_size=1000).fit(x, y)
    return from_svc(svc, gamma)


def from_svc(svc: Any, gamma: float) -> Machine:
    """The machine of a fitted ``SVC``: every pair's coefficients are a column over all support vectors."""
    starts = np.concatenate([[0], np.cumsum(svc.n_support_)])
    num_classes, dual = len(svc.classes_), np.asarray(svc.dual_coef_, np.float64)
    pairs = list(combinations(range(num_classes), 2))
    coefficients = np.zeros((len(svc.support_vectors_), len(pairs)))
    sign = 1 if num_classes > 2 else -1  # scikit-learn turns the sign of two classes over
    for column, (i, j) in enumerate(pairs):
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        coefficients[of_i, column] = sign * dual[j - 1, of_i]
        coefficients[of_j, column] = sign * dual[i, of_j]
    intercepts = sign * np.asarray(svc.intercept_, np.float64)
    return Machine(np.asarray(svc.support_vectors_, np.float32), coefficients, intercepts, gamma, num_classes)


def nystroem(
    x: np.ndarray, y: np.ndarray, ridge: float, gamma: float, landmarks: int, seed: int, block: int = 8192
) -> Machine:
    """Kernel ridge regression on one-hot classes over ``landmarks`` rows, classes balanced, in closed form.

    A pair's decision is the difference of its classes' outputs. Memory: landmarks^2 and block x landmarks.
    """
    rng, num_classes = seeding.generator("svm landmarks", seed), int(y.max()) + 1
    centres = x[np.sort(rng.permutation(len(x))[: min(landmarks, len(x))])]
    weight = len(y) / (num_classes * np.bincount(y))[y]
    left, right = np.zeros((len(centres), len(centres))), np.zeros((len(centres), num_classes))
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        kernel = rbf(x[part], centres, gamma)
        weighted = kernel * weight[part, None].astype(kernel.dtype)
        left += kernel.T @ weighted
        right += weighted.T @ np.eye(num_classes, dtype=kernel.dtype)[y[part]]
    noise = np.finfo(x.dtype).eps * np.trace(left)  # of the products, which may leave eigenvalues below zero
    left += ridge * len(x) * rbf(centres.astype(np.float64), centres.astype(np.float64), gamma)
    outputs = _solve((left + left.T) / 2, right, noise)
    pairs = list(combinations(range(num_classes), 2))
    coefficients = np.stack([outputs[:, i] - outputs[:, j] for i, j in pairs], axis=1)
    return Machine(centres.astype(np.float32), coefficients, np.zeros(len(pairs)), gamma, num_classes)


def _solve(left: np.ndarray, right: np.ndarray, noise: float) -> np.ndarray:
    """The solution of a symmetric system that is positive but for ``noise``, which is added to its diagonal."""
    diagonal = np.einsum("mm->m", left)
    for added in (noise, 9 * noise, 90 * noise):
        diagonal += added
        try:
            return cho_solve(cho_factor(left), right)
        except np.linalg.LinAlgError:
            continue
    raise InputError("svm: the landmarks' kernel is singular; a larger ridge or gamma helps")


def platt(decisions: np.ndarray, y: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and offsets (P,) of each pair's sigmoid on held-out decisions (N, P) (Platt 1999, with his targets)."""
    fits = []
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        rows = (y == i) | (y == j)
        fits.append(_sigmoid(decisions[rows, column], y[rows] == i))
    slopes, offsets = np.array(fits).T
    return slopes, offsets


def _sigmoid(decisions: np.ndarray, hits: np.ndarray) -> np.ndarray:
    num_hits, num_others = hits.sum(), (~hits).sum()
    target = np.where(hits, (num_hits + 1) / (num_hits + 2), 1 / (num_others + 2))
    scale = max(decisions.std(), 1e-12)

    def loss(fit: np.ndarray) -> tuple[float, np.ndarray]:
        z = fit[0] * decisions / scale + fit[1]
        wrong = expit(z) - target
        value = np.logaddexp(0, z) - target * z + xlogy(target, target) + xlogy(1 - target, 1 - target)
        return value.sum(), np.array([wrong @ decisions / scale, wrong.sum()])

    slope, offset = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return np.array([slope / scale, offset])


def _svc(intelex: bool) -> type:
    if not intelex:
        from sklearn.svm import SVC

        return SVC
    try:
        from sklearnex.svm import SVC
    except ImportError:
        raise InputError("svm.solver='intelex': not installed; `pip install scikit-learn-intelex`") from None
    return SVC
