"""Change points of a metric over batches of images: from which batch on it is another.

A change is looked for as the split at which the weighted means of the metric before and after differ most (CUSUM), then
within both parts (binary segmentation, Vostrikova 1981). Whether it is one is decided by a permutation test: without a
change, independent images could as well stand in each other's batches (Antoch and Huskova 2001). So the chance of a
false alarm in a series without a change is at most ``level``, however few images a batch has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigid.metrics.calibration import BINS, EQUAL_WIDTH
from aigid.metrics.classification import Array, Floats
from aigid.metrics.resampling import group_codes

MAX_PERMUTATIONS, MIN_PERMUTATIONS, MAX_ROWS = 999, 199, 20_000_000  # the last of all permutations together
Ints = NDArray[np.int64]
Series = tuple[Floats, Floats]  # a metric of each batch (T,), 0 where it has none, and its weight, which then is 0


@dataclass(frozen=True)
class Images:
    """Images as rows: ``labels``, ``scores``, whether one is ``accused``, its ``batch``, all (N,).

    Rows of one of the ``units`` (N,), a group's in one batch, are moved together, among units of the same ``strata``
    (U,): those of reals, of fakes, of both.
    """

    labels: Ints
    scores: Floats
    accused: NDArray[np.bool_]
    batch: Ints
    units: Ints
    strata: Ints

    def rows(self, inside: NDArray[np.bool_], start: int) -> "Images":
        """Return some of the rows, their batches counted from ``start``."""
        names, units = np.unique(self.units[inside], return_inverse=True)
        parts = self.labels[inside], self.scores[inside], self.accused[inside], self.batch[inside] - start
        return Images(*parts, units, self.strata[names])


def images_of(labels: Array, scores: Floats, threshold: float, batch: Ints, groups: Array) -> Images:
    """Return the images (N,); a score above ``threshold`` accuses; a group ``""``, or -1, is a row alone."""
    codes = group_codes(groups)
    clusters = np.where(codes < 0, len(codes) + np.arange(len(codes)), codes)
    units = np.unique(np.stack([clusters, batch]), axis=1, return_inverse=True)[1].reshape(-1)
    fakes, sizes = np.bincount(units, labels), np.bincount(units)
    strata = np.where(fakes == 0, 0, np.where(fakes == sizes, 2, 1))
    return Images(np.asarray(labels, np.int64), scores, scores > threshold, batch, units, strata)


def auroc(images: Images, batch: Ints, num: int) -> Series:
    """Return the AUROC of each batch (Mann and Whitney 1947), and how well it is known: 1 / (1 / reals + 1 / fakes)."""
    order = np.lexsort((images.scores, batch))
    batch, scores, is_fake = batch[order], images.scores[order], images.labels[order] == 1
    first = np.flatnonzero((np.diff(batch, prepend=-1) != 0) | (np.diff(scores, prepend=-1.0) != 0))  # of equal scores
    ties = np.diff(first, append=len(batch))
    ranks = np.repeat(first + (ties - 1) / 2, ties)  # from 0, over all batches
    sizes, fakes = np.bincount(batch, minlength=num), np.bincount(batch, is_fake, minlength=num)
    reals, starts = sizes - fakes, np.cumsum(sizes) - sizes
    wins = np.bincount(batch, is_fake * ranks, minlength=num) - fakes * starts - fakes * (fakes - 1) / 2
    return _series(wins, reals * fakes, reals * fakes / np.maximum(sizes, 1))


def fpr(images: Images, batch: Ints, num: int) -> Series:
    """Return the share of accused reals of each batch, and the number of reals."""
    is_real = images.labels == 0
    reals = np.bincount(batch, is_real, minlength=num)
    return _series(np.bincount(batch, is_real & images.accused, minlength=num), reals, reals)


def ece(images: Images, batch: Ints, num: int) -> Series:
    """Return the expected calibration error of each batch, as ``calibration`` defines it, and the number of images."""
    bins = np.maximum(np.searchsorted(EQUAL_WIDTH, images.scores, side="left") - 1, 0)
    excess = np.bincount(batch * BINS + bins, images.scores - images.labels, minlength=num * BINS)
    sizes = np.bincount(batch, minlength=num).astype(np.float64)
    return _series(np.abs(excess.reshape(num, BINS)).sum(axis=1), sizes, sizes)


METRICS: dict[str, Callable[[Images, Ints, int], Series]] = {"auroc": auroc, "fpr": fpr, "ece": ece}


def change_points(metric: str, images: Images, level: float, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Return the first batch after each change of a metric, and its p, in the order of batches."""
    return sorted(_segment(metric, images, 0, level, rng)) if len(images.batch) else []


def _segment(
    metric: str, images: Images, start: int, level: float, rng: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """Yield the changes of a metric within batches that are counted from ``start``."""
    num = int(images.batch.max()) + 1
    observed, split = max_cusum(METRICS[metric](images, images.batch, num))
    if observed == 0:
        return
    draws = int(np.clip(MAX_ROWS // len(images.batch), MIN_PERMUTATIONS, MAX_PERMUTATIONS))
    shuffled = (max_cusum(METRICS[metric](images, batch, num))[0] for batch in _shuffled(images, draws, rng))
    p = (1 + sum(statistic > observed * (1 - 1e-9) for statistic in shuffled)) / (1 + draws)
    if p <= level:
        yield start + split, p
        for low, high in ((0, split), (split, num)):
            part = images.rows((images.batch >= low) & (images.batch < high), low)
            yield from _segment(metric, part, start + low, level, rng)


def max_cusum(series: Series) -> tuple[float, int]:
    """Return the largest weighted difference of the means before and after a split, and the first batch after it."""
    values, weights = series
    before, sums = np.cumsum(weights)[:-1], np.cumsum(weights * values)[:-1]
    after, rest = weights.sum() - before, weights @ values - sums
    there = (before > 0) & (after > 0)
    if not there.any():
        return 0.0, 0
    before, sums, after, rest = before[there], sums[there], after[there], rest[there]
    statistic = np.sqrt(before * after / (before + after)) * np.abs(sums / before - rest / after)
    best = int(statistic.argmax())
    return float(statistic[best]), int(np.flatnonzero(there)[best]) + 1


def mean(series: Series, low: int, high: int) -> float:
    """Return the weighted mean of a metric over batches from ``low`` to before ``high``."""
    values, weights = (part[low:high] for part in series)
    return float(np.average(values, weights=weights))


def _shuffled(images: Images, draws: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield the batch of each row (N,), units having changed places within their strata."""
    of_units = np.empty(len(images.strata), np.int64)
    of_units[images.units] = images.batch
    members = [np.flatnonzero(images.strata == stratum) for stratum in np.unique(images.strata)]
    for _ in range(draws):
        batch = of_units.copy()
        for part in members:
            batch[part] = of_units[rng.permutation(part)]
        yield batch[images.units]


def _series(totals: Array, sizes: Array, weights: Array) -> Series:
    return np.divide(totals, sizes, out=np.zeros(len(totals)), where=sizes > 0), np.asarray(weights, np.float64)
