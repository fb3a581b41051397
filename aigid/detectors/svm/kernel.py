"""A fitted kernel machine as plain arrays: pairwise decisions by one matrix product over its centres."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, xlogy

from aigid.core import seeding
from aigid.core.errors import InputError

BLOCK = 1 << 24  # kernel values in memory at a time


@dataclass(frozen=True)
class KernelMachine:
    """``decision = K(x, centres) coefficients + intercepts``, one column for each pair (i, j), i < j, of K classes.

    ``centres`` (M, D) float32 are support vectors or landmarks, ``coefficients`` (M, P) and ``intercepts`` (P,)
    float64; a positive decision of (i, j) is a vote for class i.
    """

    centres: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray
    gamma: float
    num_classes: int

    def decide(self, x: np.ndarray) -> np.ndarray:
        """(N, D) float32 to the decisions (N, P) float64.

        In float64: in float32 thousands of centres let a score depend by 3e-4 on how many rows come with it.
        """
        x, centres = x.astype(np.float64), self.centres.astype(np.float64)
        found = np.empty((len(x), len(self.intercepts)))
        step = max(BLOCK // len(centres), 1)
        for start in range(0, len(x), step):
            found[start : start + step] = rbf(x[start : start + step], centres, self.gamma) @ self.coefficients
        return found + self.intercepts

    def vote(self, x: np.ndarray) -> np.ndarray:
        """The class (N,) with most pairwise votes, the first of equals, as libsvm's ``predict``."""
        return predict(self.decide(x), self.num_classes)


def rbf(x: np.ndarray, centres: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma |x - c|^2), (N, M) in the dtype of ``x``; the one large product is BLAS's."""
    kernel = x @ centres.T
    kernel *= 2 * gamma
    kernel -= gamma * np.einsum("nd,nd->n", x, x)[:, None]
    kernel -= gamma * np.einsum("md,md->m", centres, centres)
    np.minimum(kernel, 0, out=kernel)
    return np.exp(kernel, out=kernel)


def predict(decisions: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, P) to (N,) int64."""
    votes = np.zeros((len(decisions), num_classes), np.int64)
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        won = decisions[:, column] > 0
        votes[:, i] += won
        votes[:, j] += ~won
    return votes.argmax(axis=1)


def pairwise_coupling(pairwise: np.ndarray, num_classes: int) -> np.ndarray:
    """Class probabilities (N, K) from those of pairs, ``pairwise`` (N, P) = P(i | i or j).

    They minimise the sum over pairs of (r_ji p_i - r_ij p_j)^2 (Wu, Lin and Weng 2004, their second method; libsvm's
    choice), here by its linear system rather than by iteration.
    """
    r = np.clip(pairwise, 1e-7, 1 - 1e-7)
    q = np.zeros((len(r), num_classes + 1, num_classes + 1))
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        forward, backward = r[:, column], 1 - r[:, column]
        q[:, i, i] += backward**2
        q[:, j, j] += forward**2
        q[:, i, j] = q[:, j, i] = -forward * backward
    q[:, -1, :-1] = q[:, :-1, -1] = 1
    right = np.zeros((len(r), num_classes + 1, 1))
    right[:, -1] = 1
    found = np.clip(np.linalg.solve(q, right)[:, :num_classes, 0], 0, 1)
    return found / found.sum(axis=1, keepdims=True)


def platt_probabilities(decisions: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """P(i | i or j) of decisions (N, P), by Platt's sigmoid of each pair."""
    return expit(decisions * slopes + offsets)


# Fit a kernel machine: libsvm, the same problem by oneDAL, or Nystroem kernel ridge for large sets.


def support_vectors(x: np.ndarray, y: np.ndarray, c: float, gamma: float, intelex: bool = False) -> KernelMachine:
    """scikit-learn's balanced RBF ``SVC``, as arrays; with ``intelex`` it is scikit-learn-intelex's."""
    svc = _svc(intelex)(C=c, gamma=gamma, class_weight="balanced", cache_size=1000).fit(x, y)
    return from_svc(svc, gamma)


def from_svc(svc: Any, gamma: float) -> KernelMachine:
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
    return KernelMachine(np.asarray(svc.support_vectors_, np.float32), coefficients, intercepts, gamma, num_classes)


def nystroem(
    x: np.ndarray, y: np.ndarray, ridge: float, gamma: float, landmarks: int, seed: int, block: int = 8192
) -> KernelMachine:
    """Kernel ridge regression on one-hot classes over ``landmarks`` rows, classes balanced, in closed form.

    A pair's decision is the difference of its classes' outputs. Memory: landmarks^2 and block x landmarks.
    """
    rng, num_classes = seeding.numpy_generator("svm landmarks", seed), int(y.max()) + 1
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
    outputs = _ridge_solve((left + left.T) / 2, right, noise)
    pairs = list(combinations(range(num_classes), 2))
    coefficients = np.stack([outputs[:, i] - outputs[:, j] for i, j in pairs], axis=1)
    return KernelMachine(centres.astype(np.float32), coefficients, np.zeros(len(pairs)), gamma, num_classes)


def _ridge_solve(left: np.ndarray, right: np.ndarray, noise: float) -> np.ndarray:
    """The solution of a symmetric system that is positive but for ``noise``, which is added to its diagonal."""
    diagonal = np.einsum("mm->m", left)
    for added in (noise, 9 * noise, 90 * noise):
        diagonal += added
        try:
            return cho_solve(cho_factor(left), right)
        except np.linalg.LinAlgError:
            continue
    raise InputError("svm: the landmarks' kernel is singular; a larger ridge or gamma helps")


def fit_platt(decisions: np.ndarray, y: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
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
