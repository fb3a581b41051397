"""Kernel machines as plain arrays, fitted by libsvm, by oneDAL or as Nystroem kernel ridge; Platt's probabilities."""

from dataclasses import dataclass
from importlib import import_module
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.core.errors import InputError, require_package
from aigid.detectors.samples import Floats, Ints, mean_and_std, unit_rows

BLOCK = 1 << 24  # kernel values in memory at a time
Scaling = Literal["unit", "standard", "whitened"]  # rows of length 1; columns of deviation 1; and uncorrelated ones
MIN_STD = 0.1  # added to the variance of each principal axis of standardized columns, whose mean is 1


def fit_scaler(x: Floats, scaling: Scaling, num_components: int | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays that ``transform`` needs, from training rows (N, D).

    ``num_components`` keeps so many principal axes of standardized columns, those of the largest variance. Whitened
    columns are principal axes, each divided by sqrt(variance + MIN_STD): a kernel of random backbones' embeddings,
    almost all of whose variance lies in a few axes, sees the others too.
    """
    if scaling == "unit":
        return {}
    mean, std = mean_and_std(x)
    arrays = {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}
    if scaling == "whitened" or num_components is not None:
        from scipy.sparse.linalg import eigsh  # here, as `predict` has no use for it

        rows, width = (x - mean) / std, x.shape[1]
        num = width if num_components is None else num_components
        if num > width:
            raise InputError(f"svm.num_components={num}: the embeddings have {width} columns")
        covariance = rows.T @ rows / len(rows)
        some = num < width / 4 and covariance.any()  # then Lanczos' iteration, from a fixed start, is many times faster
        variances, axes = eigsh(covariance, num, v0=np.ones(width)) if some else np.linalg.eigh(covariance)
        variances, axes = variances[-num:], axes[:, -num:]
        axes = axes / np.sqrt(variances + MIN_STD) if scaling == "whitened" else axes
        arrays["axes"] = axes.astype(np.float32 if num_components is None else np.float16)  # most of a small model
    return arrays


def transform(x: Floats, arrays: dict[str, NDArray[Any]]) -> Floats:
    """Return scaled embeddings (N, D) float32."""
    if "mean" not in arrays:
        return unit_rows(x)
    x = (x - arrays["mean"]) / arrays["std"]
    return np.matmul(x, arrays["axes"].astype(np.float32)) if "axes" in arrays else x


@dataclass(frozen=True)
class KernelMachine:
    """``decision = K(x, centers) coefficients + intercepts``, one column for each pair (i, j), i < j, of K classes.

    ``centers`` (M, D) float32 are support vectors or landmarks, ``coefficients`` (M, P) and ``intercepts`` (P,)
    float64; a positive decision of (i, j) is a vote for class i.
    """

    centers: Floats
    coefficients: Floats
    intercepts: Floats
    gamma: float
    num_classes: int

    def decision_function(self, x: Floats) -> Floats:
        """Return the decisions (N, P) float64 of (N, D) float32.

        In float64: in float32 thousands of centers let a score depend by 3e-4 on how many rows come with it.
        """
        x, centers = x.astype(np.float64), self.centers.astype(np.float64)
        decisions = np.empty((len(x), len(self.intercepts)))
        step = max(BLOCK // len(centers), 1)
        for start in range(0, len(x), step):
            decisions[start : start + step] = rbf(x[start : start + step], centers, self.gamma) @ self.coefficients
        return decisions + self.intercepts


def rbf(x: Floats, centers: Floats, gamma: float) -> Floats:
    """Return exp(-gamma |x - c|^2), (N, M) in the dtype of ``x``; the one large product is BLAS's."""
    kernel = x @ centers.T
    kernel *= 2 * gamma
    kernel -= gamma * np.einsum("nd,nd->n", x, x)[:, None]
    kernel -= gamma * np.einsum("md,md->m", centers, centers)
    np.minimum(kernel, 0, out=kernel)
    np.exp(kernel, out=kernel)
    return kernel


def predict(decisions: Floats, num_classes: int) -> Ints:
    """Return the class (N,) with most pairwise votes, the first of equals, as libsvm's ``predict``."""
    votes = np.zeros((len(decisions), num_classes), np.int64)
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        positive = decisions[:, column] > 0
        votes[:, i] += positive
        votes[:, j] += ~positive
    winners: Ints = votes.argmax(axis=1)
    return winners


def pairwise_coupling(pairwise: Floats, num_classes: int) -> Floats:
    """Return class probabilities (N, K) from those of pairs, ``pairwise`` (N, P) = P(i | i or j).

    They minimize the sum over pairs of (r_ji p_i - r_ij p_j)^2 (Wu, Lin and Weng 2004, their second method; libsvm's
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
    p = np.clip(np.linalg.solve(q, right)[:, :num_classes, 0], 0, 1)
    probabilities: Floats = p / p.sum(axis=1, keepdims=True)
    return probabilities


def support_vectors(
    x: Floats, y: Ints, c: float, gamma: float, intelex: bool = False, kernel: Floats | None = None
) -> KernelMachine:
    """Fit scikit-learn's balanced RBF ``SVC``, or with ``intelex`` that of scikit-learn-intelex (oneDAL).

    ``kernel`` is ``rbf(x, x, gamma)`` (N, N) where it is known; libsvm's own values, one by one, are most of its time.
    """
    kind = "rbf" if kernel is None else "precomputed"
    svc = _svc(intelex)(C=c, gamma=gamma, kernel=kind, class_weight="balanced", cache_size=1000)
    return from_svc(svc.fit(x if kernel is None else kernel, y), gamma, x)


def from_svc(svc: Any, gamma: float, x: Floats) -> KernelMachine:
    """Return an ``SVC`` fitted on ``x`` as arrays: every pair's coefficients are a column over all support vectors."""
    starts = np.concatenate([[0], np.cumsum(svc.n_support_)])
    num_classes, dual = len(svc.classes_), np.asarray(svc.dual_coef_, np.float64)
    pairs = list(combinations(range(num_classes), 2))
    coefficients = np.zeros((len(svc.support_), len(pairs)))
    sign = 1 if num_classes > 2 else -1  # scikit-learn turns the sign of two classes over
    for column, (i, j) in enumerate(pairs):
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        coefficients[of_i, column] = sign * dual[j - 1, of_i]
        coefficients[of_j, column] = sign * dual[i, of_j]
    intercepts = sign * np.asarray(svc.intercept_, np.float64)
    return KernelMachine(np.asarray(x[svc.support_], np.float32), coefficients, intercepts, gamma, num_classes)


def nystroem(
    x: Floats, y: Ints, ridge: float, gamma: float, landmarks: int, seed: int, block: int = 8192
) -> KernelMachine:
    """Fit kernel ridge regression on one-hot classes over ``landmarks`` rows, classes balanced, in closed form.

    A pair's decision is the difference of its classes' outputs. Memory: landmarks^2 and block x landmarks.
    """
    rng, num_classes = seeding.numpy_generator("svm landmarks", seed), int(y.max()) + 1
    centers = x[np.sort(rng.permutation(len(x))[: min(landmarks, len(x))])]
    weight = len(y) / (num_classes * np.bincount(y))[y]
    left, right = np.zeros((len(centers), len(centers))), np.zeros((len(centers), num_classes))
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        kernel = rbf(x[part], centers, gamma)
        weighted = kernel * weight[part, None].astype(kernel.dtype)
        left += kernel.T @ weighted
        right += weighted.T @ np.eye(num_classes, dtype=kernel.dtype)[y[part]]
    jitter = np.finfo(x.dtype).eps * np.trace(left)  # of the products, which may leave eigenvalues below zero
    left += ridge * len(x) * rbf(centers.astype(np.float64), centers.astype(np.float64), gamma)
    outputs = _ridge_solve((left + left.T) / 2, right, jitter)
    pairs = list(combinations(range(num_classes), 2))
    coefficients = np.stack([outputs[:, i] - outputs[:, j] for i, j in pairs], axis=1)
    return KernelMachine(centers.astype(np.float32), coefficients, np.zeros(len(pairs)), gamma, num_classes)


def _ridge_solve(left: Floats, right: Floats, jitter: float) -> Floats:
    """Solve a symmetric system that is positive but for ``jitter``, which is added to its diagonal."""
    from scipy.linalg import cho_factor, cho_solve

    diagonal = np.einsum("mm->m", left)
    for added in (jitter, 9 * jitter, 90 * jitter):
        diagonal += added
        try:
            solution: Floats = cho_solve(cho_factor(left), right)
            return solution
        except np.linalg.LinAlgError:
            continue
    raise InputError("svm: the landmarks' kernel is singular; a larger ridge or gamma helps")


def _svc(intelex: bool) -> Any:
    if intelex:
        require_package("sklearnex", "svm.solver='intelex'")
    return import_module("sklearnex.svm" if intelex else "sklearn.svm").SVC
