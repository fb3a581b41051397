"""How well features predict the label, out of fold, so that what says nothing comes out at 0.5 however few images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.core.special import expit, logit, normal_cdf, normal_quantile
from aigid.data.audit.boosting import boosted_probabilities
from aigid.metrics import intervals

FOLDS = 5  # or as many as a class has units
BINS = (2, 4, 8, 16, 32, 64)
PRIOR_STRENGTH = 4  # images' worth of the overall share that each bin is mixed with
MAX_CATEGORIES = 100  # of a name; rarer ones become one

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        cuts = [np.arange(MAX_CATEGORIES)] if is_name else [_quantiles(ordered, num) for num in BINS]
        for edges in cuts:
            bins = np.searchsorted(edges, values)
            num = np.bincount(bins[seen], minlength=len(edges) + 1)
            fakes = np.bincount(bins[seen], labels[seen], minlength=len(edges) + 1)
            scores[unseen] += ((fakes + PRIOR_STRENGTH * base) / (num + PRIOR_STRENGTH))[bins[unseen]]
    return scores


def _quantiles(ordered: Floats, num: int) -> Floats:
    return np.unique(ordered[np.arange(1, num) * len(ordered) // num])


def _out_of_fold_together(values: Floats, is_name: list[bool], labels: Ints, folds: Ints) -> Floats:
    """Return boosted small trees' P(generated) of each row of (N, D), fitted on the other folds."""
    scores = np.zeros(len(labels))
    for fold in range(folds.max() + 1):
        seen = folds != fold
        scores[~seen] = boosted_probabilities(values, is_name, labels, seen)[~seen]
    return scores
