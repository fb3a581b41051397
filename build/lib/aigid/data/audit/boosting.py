"""Gradient boosting of small trees on binned columns (Friedman 2001; Ke et al. 2017), without scikit-learn."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aigid.core.special import expit, logit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROUNDS, LEARNING_RATE, LEAVES = 25, 0.2, 4
WIDTH, QUANTILES = 128, 64  # bins of a column: names by their code, a number by its quantile
NAME_PRIOR, NAME_ROWS = 10.0, 10  # added to a name's curvature where names are put in order; rarer ones go right
MIN_CURVATURE = 1e-3  # of a leaf


class Split(NamedTuple):
    """A leaf in two: the column, and which of its bins (WIDTH,) go to the left; ``gain`` is 0 where none is allowed."""

    gain: float
    column: int
    left: NDArray[np.bool_]


@dataclass(frozen=True)
class _Trees:
    codes: Ints  # (N, D)
    is_name: NDArray[np.bool_]  # (D,)
    seen: NDArray[np.bool_]  # (N,): the rows that are fitted
    min_rows: int  # of a leaf

    def split(self, rows: Ints, gradient: Floats, curvature: Floats) -> Split:
        """Return the split of the leaf of ``rows`` that reduces the log loss most, to second order."""
        rows, columns = rows[self.seen[rows]], self.codes.shape[1]
        cells = (self.codes[rows] + np.arange(columns) * WIDTH).ravel()
        weights = gradient[rows], curvature[rows], np.ones(len(rows))
        sums = np.stack([np.bincount(cells, np.repeat(w, columns), columns * WIDTH) for w in weights])
        sums = sums.reshape(3, columns, WIDTH)
        rare = self.is_name[:, None] & (sums[2] < NAME_ROWS)
        means = np.where(rare, np.inf, sums[0] / (sums[1] + NAME_PRIOR))
        order = np.argsort(np.where(self.is_name[:, None], means, np.arange(WIDTH)), axis=1, kind="stable")
        left = np.cumsum(np.take_along_axis(sums, order[None], axis=2), axis=2)
        total = left[:, :1, -1:]
        allowed = ~np.take_along_axis(rare, order, axis=1)
        gains: Any = -(total[0] ** 2) / total[1]
        for side in (left, total - left):
            allowed &= (side[2] >= self.min_rows) & (side[1] >= MIN_CURVATURE)
            gains = gains + side[0] ** 2 / np.maximum(side[1], MIN_CURVATURE)
        column, last = np.unravel_index(np.where(allowed, gains, 0).argmax(), gains.shape)
        chosen = np.isin(np.arange(WIDTH), order[column, : last + 1])
        return Split(float(gains[column, last]) if allowed[column, last] else 0.0, int(column), chosen)

    def leaves(self, gradient: Floats, curvature: Floats) -> list[Ints]:
        """Grow a tree, the best leaf first; return the rows of each leaf, those that are not fitted included."""
        every = np.arange(len(self.codes))
        grown = [(every, self.split(every, gradient, curvature))]
        while len(grown) < LEAVES:
            best = max(range(len(grown)), key=lambda leaf: grown[leaf][1].gain)
            rows, split = grown[best]
            if split.gain <= 0:
                break
            goes_left = split.left[self.codes[rows, split.column]]
            parts = rows[goes_left], rows[~goes_left]
            grown[best : best + 1] = [(part, self.split(part, gradient, curvature)) for part in parts]
        return [rows for rows, _ in grown]


def boosted_probabilities(values: Floats, is_name: list[bool], labels: Ints, seen: NDArray[np.bool_]) -> Floats:
    """Return P(label 1) of every row of ``values`` (N, D), fitted on the ``seen`` (N,); codes of names are < WIDTH."""
    codes = np.empty(values.shape, np.int64)
    for column, (cells, named) in enumerate(zip(values.T, is_name, strict=True)):
        ordered = np.sort(cells[seen])
        edges = np.unique(ordered[np.arange(1, QUANTILES) * len(ordered) // QUANTILES])
        codes[:, column] = cells if named else np.searchsorted(edges, cells)
    trees = _Trees(codes, np.array(is_name), seen, int(np.clip(seen.sum() // 20, 2, 20)))
    margin = np.full(len(labels), float(logit(labels[seen].mean())))
    for _ in range(ROUNDS):
        p: Floats = np.asarray(expit(margin))
        gradient, curvature = p - labels, p * (1 - p)
        for rows in trees.leaves(gradient, curvature):
            fitted = rows[seen[rows]]
            margin[rows] -= LEARNING_RATE * gradient[fitted].sum() / max(curvature[fitted].sum(), MIN_CURVATURE)
    return np.asarray(expit(margin))
