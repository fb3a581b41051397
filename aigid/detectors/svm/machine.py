"""A fitted kernel machine as plain arrays: pairwise decisions by one matrix product over its centres."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit

BLOCK = 1 << 24  # kernel values in memory at a time


@dataclass(frozen=True)
class Machine:
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
        return vote(self.decide(x), self.num_classes)


def rbf(x: np.ndarray, centres: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-gamma |x - c|^2), (N, M) in the dtype of ``x``; the one large product is BLAS's."""
    kernel = x @ centres.T
    kernel *= 2 * gamma
    kernel -= gamma * np.einsum("nd,nd->n", x, x)[:, None]
    kernel -= gamma * np.einsum("md,md->m", centres, centres)
    np.minimum(kernel, 0, out=kernel)
    return np.exp(kernel, out=kernel)


def vote(decisions: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, P) to (N,) int64."""
    votes = np.zeros((len(decisions), num_classes), np.int64)
    for column, (i, j) in enumerate(combinations(range(num_classes), 2)):
        won = decisions[:, column] > 0
        votes[:, i] += won
        votes[:, j] += ~won
    return votes.argmax(axis=1)


def couple(pairwise: np.ndarray, num_classes: int) -> np.ndarray:
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


def sigmoids(decisions: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """P(i | i or j) of decisions (N, P), by Platt's sigmoid of each pair."""
    return expit(decisions * slopes + offsets)
