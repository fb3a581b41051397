"""How well features predict the label, out of fold, so that what says nothing comes out at 0.5 however few images.

The predictor is gradient boosting of small trees on binned columns (Friedman 2001; Ke et al. 2017).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.core.special import expit, logit, normal_cdf, normal_quantile
from aigid.metrics import intervals

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


FOLDS = 5  # or as many as a class has units
BINS = (2, 4, 8, 16, 32, 64)
PRIOR_STRENGTH = 4  # images' worth of the overall share that each bin is mixed with
MAX_CATEGORIES = 100  # of a name; rarer ones become one


@dataclass(frozen=True)
class AurocEstimate:
    """An AUROC, its 95 % interval, and the one-sided p of 0.5."""

    auroc: float = 0.5
    low: float = 0.5
    high: float = 0.5
    p: float = 1.0


def univariate_and_joint_auroc(
    features: pd.DataFrame, labels: Ints, units: Ints, seed: int
) -> tuple[list[AurocEstimate], AurocEstimate]:
    """Return the estimate of every column alone and of all together; rows of one of the ``units`` (N,) share a fold.

    Where a column varies, each class needs two units. A column with one value predicts nothing, exactly. A column never
    counts by being wrong: the direction is learnt on the other folds, so an AUROC below 0.5 is chance.
    """
    columns = [_to_float(features[name]) for name in features]
    varying = [index for index, (values, _) in enumerate(columns) if np.ptp(values) > 0]
    alone = [AurocEstimate()] * len(columns)
    if not varying:
        return alone, AurocEstimate()
    folds = assign_folds(labels, units, seed)
    for index in varying:
        alone[index] = estimate(labels, _out_of_fold_alone(*columns[index], labels, folds), folds, units)
    if len(varying) == 1:
        return alone, alone[varying[0]]
    values = np.stack([columns[index][0] for index in varying], axis=1)
    names = [columns[index][1] for index in varying]
    return alone, estimate(labels, _out_of_fold_together(values, names, labels, folds), folds, units)


def num_units(labels: Ints, units: Ints) -> tuple[int, int]:
    """Return how many units hold a real, and how many a fake."""
    return len(np.unique(units[labels == 0])), len(np.unique(units[labels == 1]))


def assign_folds(labels: Ints, units: Ints, seed: int) -> Ints:
    """Return the fold of each row (N,), from 0: whole units, those that hold the same classes dealt out in turn."""
    _, rows = np.unique(units, return_inverse=True)
    fakes, sizes = np.bincount(rows, labels), np.bincount(rows)
    stratum = np.where(fakes == 0, 0, np.where(fakes == sizes, 2, 1))
    order = np.lexsort((seeding.numpy_generator("audit folds", seed).permutation(len(sizes)), stratum))
    fold = np.empty(len(sizes), np.int64)
    fold[order] = np.arange(len(sizes)) % min(FOLDS, *num_units(labels, units))
    return fold[rows]


def estimate(labels: Ints, scores: Floats, folds: Ints, units: Ints) -> AurocEstimate:
    """Return the AUROC over the pairs of a real and a fake within a fold, as scores of two folds cannot be compared.

    Its variance is that of the images' placements, added up within units (DeLong et al. 1988; Obuchowski 1997), and
    widened because folds learn from each other's images and so err alike (Nadeau and Bengio 2003); the interval is
    symmetric on the logit scale. ``p`` takes no less than the variance of independent images without a difference
    (Mann and Whitney 1947). Where no pair is wrong, all that is known is that the pairs of independent images, as
    many as the smaller class has, were right.
    """
    auroc, influence = auroc_influence_function(labels, scores, folds)
    reals, fakes = num_units(labels, units)
    if auroc in (0, 1):
        edge, chance = intervals.perfect_auroc_lower_bound(min(reals, fakes)), 0.5 ** min(reals, fakes)
        return AurocEstimate(1.0, edge, 1.0, chance) if auroc else AurocEstimate(0.0, 0.0, 1 - edge, 1 - chance)
    _, rows = np.unique(units, return_inverse=True)
    num, num_folds = rows.max() + 1, folds.max() + 1
    widened = 1 + num_folds / max(num_folds - 1, 1)
    variance = widened * num / (num - 1) * np.square(np.bincount(rows, influence)).sum()
    chance = widened * (reals + fakes + num_folds) / (12 * reals * fakes)
    p = normal_cdf((0.5 - auroc) / np.sqrt(max(variance, chance)))
    reach = normal_quantile((1 + intervals.CONFIDENCE) / 2) * np.sqrt(variance) / (auroc * (1 - auroc))
    return AurocEstimate(auroc, float(expit(logit(auroc) - reach)), float(expit(logit(auroc) + reach)), p)


def auroc_influence_function(labels: Ints, scores: Floats, folds: Ints) -> tuple[float, Floats]:
    """Return the AUROC of pairs within folds, and what each row (N,) adds to its deviation."""
    won, met = np.zeros(len(labels)), np.zeros(len(labels))  # the pairs of each row
    for fold in range(folds.max() + 1):
        inside = folds == fold
        ranks = _ranks(scores[inside])
        for label in (0, 1):
            these = inside & (labels == label)
            above = ranks[labels[inside] == label] - _ranks(scores[these])  # of the other class, ties counting half
            met[these] = inside.sum() - these.sum()
            won[these] = above if label else met[these] - above
    pairs = met[labels == 1].sum()
    auroc = float(won[labels == 1].sum() / pairs)
    return auroc, (won - met * auroc) / pairs


def _ranks(values: Floats) -> Floats:
    return np.asarray(pd.Series(values).rank())


def _to_float(column: pd.Series) -> tuple[Floats, bool]:
    """Return the values of a column (N,), names as the rank of how often they stand, and whether they are names."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64), False
    ranks = {name: rank for rank, name in enumerate(column.value_counts(sort=True).index)}
    return column.map(ranks).clip(upper=MAX_CATEGORIES).to_numpy(np.float64), True


def _out_of_fold_alone(values: Floats, is_name: bool, labels: Ints, folds: Ints) -> Floats:
    """Return the share of fakes among like values (N,) of the other folds.

    Like is equal for a name; for a number it is the same of ``BINS`` quantiles, and the shares of all are averaged,
    so that trends, bands and single values all show.
    """
    scores = np.zeros(len(labels))
    for fold in range(folds.max() + 1):
        seen, unseen = folds != fold, folds == fold
        ordered, base = np.sort(values[seen]), labels[seen].mean()
        quantiles = [np.unique(ordered[np.arange(1, num) * len(ordered) // num]) for num in BINS]
        cuts = [np.arange(MAX_CATEGORIES)] if is_name else quantiles
        for edges in cuts:
            bins = np.searchsorted(edges, values)
            num = np.bincount(bins[seen], minlength=len(edges) + 1)
            fakes = np.bincount(bins[seen], labels[seen], minlength=len(edges) + 1)
            scores[unseen] += ((fakes + PRIOR_STRENGTH * base) / (num + PRIOR_STRENGTH))[bins[unseen]]
    return scores


def _out_of_fold_together(values: Floats, is_name: list[bool], labels: Ints, folds: Ints) -> Floats:
    """Return boosted small trees' P(generated) of each row of (N, D), fitted on the other folds."""
    scores = np.zeros(len(labels))
    for fold in range(folds.max() + 1):
        seen = folds != fold
        scores[~seen] = boosted_probabilities(values, is_name, labels, seen)[~seen]
    return scores
