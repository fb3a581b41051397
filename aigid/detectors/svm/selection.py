"""Which features the machine sees: the best by F-test, and of those a greedy choice scored on validation."""

from collections.abc import Callable

import numpy as np
from sklearn.feature_selection import f_classif


def k_best(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` columns with the highest ANOVA F, in their order (``SelectKBest(f_classif, k)``)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.nan_to_num(f_classif(x, y)[0], nan=-1.0)
    return np.sort(np.argsort(f, kind="stable")[::-1][:k])


def forward(columns: np.ndarray, score: Callable[[np.ndarray], float], most: int) -> np.ndarray:
    """Start from nothing, add the column whose company scores best, stop at ``most`` or where none improves."""
    chosen: list[int] = []
    best = -np.inf
    while len(chosen) < min(most, len(columns)):
        scores = {int(c): score(np.array(sorted([*chosen, c]))) for c in columns if c not in chosen}
        column = max(scores, key=scores.__getitem__)
        if scores[column] <= best:
            break
        best = scores[column]
        chosen.append(column)
    return np.array(sorted(chosen))
