"""Confidence intervals: a stratified, group-aware bootstrap of ranking metrics, and Wilson intervals of shares."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core.special import normal_cdf, normal_quantile, student_quantile
from aigid.metrics.classification import Array, Floats, auroc, rank

CONFIDENCE = 0.95
N_BOOTSTRAP, MIN_DRAWS, MAX_SAMPLED_ROWS = 1000, 200, 200_000_000
CHUNK = 1 << 17  # weights at a time: few enough to stay in the processor's cache

Ints = NDArray[np.int64]
Weights = NDArray[np.int32]
Metrics = dict[str, Floats]


class Interval(NamedTuple):
    """A value and its 95 % interval, which is that of the draws: it need not contain the value."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``0.912 [0.898, 0.925]``."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class BootstrapSample:
    """The rows to resample, sorted by part and falling score, reals first.

    ``scores`` (N,); ``parts`` (N,) is -1 for a real, else the number of the part that a fake is evaluated in. Rows of
    one of the ``clusters`` (N,) are drawn together, within the ``strata`` (U,) of the clusters.
    """

    scores: Floats
    parts: Ints
    clusters: Ints
    strata: Ints


def population(
    labels: Array, scores: Array, parts: Array | None = None, groups: Array | None = None
) -> BootstrapSample:
    """Build the sample of rows (N,) of reals (label 0) and fakes (label 1), in any order.

    ``parts`` names each fake's part, such as its generator (all are one part if None). Rows with one name in
    ``groups`` are one cluster; ``""`` is a cluster alone. A cluster's stratum is its first part, reals being first.
    """
    is_fake = labels == 1
    part = np.full(len(labels), -1)
    part[is_fake] = 0 if parts is None else np.unique(parts[is_fake], return_inverse=True)[1]
    name = np.full(len(labels), "") if groups is None else groups.astype(str)
    group = np.unique(name, return_inverse=True)[1] + len(name)
    order = np.lexsort((group, -scores, part))
    part, group, alone = part[order], group[order], name[order] == ""
    group[alone] = np.arange(alone.sum())
    clusters = np.unique(group, return_inverse=True)[1]
    strata = np.full(clusters.max() + 1, part.max())
    np.minimum.at(strata, clusters, part)
    return BootstrapSample(np.asarray(scores, np.float64)[order], part, clusters, strata)


def bootstrap(sample: BootstrapSample, n_bootstrap: int, rng: np.random.Generator) -> Metrics:
    """Return ``auroc``, ``ap``, ``tpr_at_fpr1`` and ``tpr_at_fpr5`` of each draw and part, (n_bootstrap, C).

    NaN where a draw has no real or no fake of the part.
    """
    statistics = _Statistics(sample)
    chunks = [statistics(counts[:, sample.clusters]) for counts in resample(sample.strata, n_bootstrap, rng)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def bootstrap_error(sample: BootstrapSample, bin_edges: Floats, n_bootstrap: int, rng: np.random.Generator) -> Floats:
    """Return the expected calibration error of each draw, (n_bootstrap,), reals and fakes pooled."""
    bins = np.maximum(np.searchsorted(bin_edges, sample.scores, side="left") - 1, 0)
    num = len(sample.strata)
    cells, rows = np.unique(bins * num + sample.clusters, return_inverse=True)
    excess, clusters = np.bincount(rows, sample.scores - (sample.parts >= 0)), cells % num
    starts = np.flatnonzero(np.diff(cells // num, prepend=-1))  # of each bin
    size = np.bincount(sample.clusters, minlength=num)
    draws = resample(sample.strata, n_bootstrap, rng)
    sums = ((np.add.reduceat(counts[:, clusters] * excess, starts, axis=1), counts @ size) for counts in draws)
    return np.concatenate([np.abs(by_bin).sum(axis=1) / total for by_bin, total in sums])


def auroc_intervals(
    labels: Array, scores: Array, groups: Array, seed: int, parts: Array | None = None, n_bootstrap: int = 500
) -> dict[str, Interval]:
    """Return the AUROC of each part's fakes against all reals, by the part's name (``""`` without ``parts``)."""
    result = {}
    for name, (value, draws, rows) in _auroc_draws(labels, scores, groups, seed, parts, n_bootstrap).items():
        result[name] = Interval(value, *interval(draws, num_independent(labels[rows], groups[rows])))
    return result


def auroc_interval(
    labels: Array, runs: Array, groups: Array, seed: int, parts: Array | None = None, n_bootstrap: int = 500
) -> tuple[Interval, list[float]]:
    """Return the mean AUROC over parts and over ``runs`` (S, N) of scores, and that of each run.

    A draw is of whole groups, the same for all runs: the interval covers the images, not a training's chance.
    """
    of_runs = [_auroc_draws(labels, scores, groups, seed, parts, n_bootstrap).values() for scores in runs]
    values = [float(np.mean([value for value, _, _ in of_run])) for of_run in of_runs]
    draws = np.mean([np.stack([of_part for _, of_part, _ in run], axis=1).mean(axis=1) for run in of_runs], axis=0)
    return Interval(float(np.mean(values)), *interval(draws, num_independent(labels, groups))), values


def _auroc_draws(
    labels: Array, scores: Array, groups: Array, seed: int, parts: Array | None, n_bootstrap: int
) -> dict[str, tuple[float, Floats, NDArray[np.bool_]]]:
    """Return, by part, its AUROC, that of each draw (n_bootstrap,), and its rows (N,)."""
    names = np.full(len(labels), "") if parts is None else parts
    draws = bootstrap(population(labels, scores, names, groups), n_bootstrap, np.random.default_rng(seed))["auroc"]
    result = {}
    for name, of_part in zip(np.unique(names[labels == 1]), draws.T, strict=True):
        rows = (labels == 0) | (names == name)
        result[str(name)] = auroc(rank(labels[rows], scores[rows])), of_part, rows
    return result


def limit_draws(n_bootstrap: int, num: int) -> int:
    """Return at most ``n_bootstrap``, fewer for so many rows ``num`` that a draw takes a tenth of a second."""
    return min(n_bootstrap, max(MAX_SAMPLED_ROWS // max(num, 1), MIN_DRAWS))


def basic_interval(draws: Floats, value: float, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return the basic interval of a ``value`` in [0, 1] whose draws (B,) are biased upwards, as those of an error."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return max(float(2 * value - high), 0.0), min(float(2 * value - low), 1.0)


def interval(draws: Floats, num: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile interval of draws (B,), widened for ``num``, the independent images of the smaller class.

    Draws of n images spread too little by (n - 1) / n and as a normal, not as Student's t (Hesterberg 2015).
    """
    num = max(num, 2)
    tail = normal_cdf(np.sqrt(num / (num - 1)) * student_quantile(num - 1, (1 - level) / 2))
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def perfect_auroc_lower_bound(num: int, level: float = CONFIDENCE) -> float:
    """Return the lower bound of an AUROC of 1 on ``num`` independent pairs, all in order (Clopper and Pearson 1934)."""
    return float(((1 - level) / 2) ** (1 / num))


def group_names(images: pd.DataFrame) -> Array:
    """Return the group of each row (N,), ``""`` where it has none."""
    return images["group"].to_numpy(str) if "group" in images else np.full(len(images), "")


def number_clusters(groups: Array) -> Ints:
    """Return the cluster of each row (N,): rows of one group name are one, ``""`` is alone."""
    alone = np.array([f"\0{index}" for index in range(len(groups))])
    return np.unique(np.where(groups == "", alone, groups), return_inverse=True)[1]


def num_independent(labels: Array, groups: Array) -> int:
    """Return the number of clusters of the smaller class of rows (N,), ``""`` being alone."""
    return min(len(np.unique(number_clusters(groups[labels == label]))) for label in (0, 1))


def wilson_interval(hits: Array, groups: Array | None = None, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's interval for the mean of ``hits`` (N,) of 0 and 1, at their effective sample size."""
    mean, num = float(np.mean(hits)), effective_sample_size(hits, groups)
    z2 = normal_quantile((1 + level) / 2) ** 2
    middle = (mean + z2 / (2 * num)) / (1 + z2 / num)
    half = np.sqrt(z2 * mean * (1 - mean) / num + z2**2 / (4 * num**2)) / (1 + z2 / num)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def effective_sample_size(hits: Array, groups: Array | None = None) -> float:
    """Return the number of independent images that determine the mean of ``hits`` (N,) of 0 and 1 as well.

    Images of one group agree with each other; N is divided by the design effect, the variance between groups over
    that of independent images (Kish 1965). If all hits are equal, each group counts as one image; one group alone
    counts as one.
    """
    num, mean = float(len(hits)), float(np.mean(hits))
    if groups is None:
        return num
    alone = groups == ""
    group = np.unique(groups[~alone].astype(str), return_inverse=True)[1]
    size = np.concatenate([np.bincount(group), np.ones(alone.sum(), int)])
    hit = np.concatenate([np.bincount(group, hits[~alone]).astype(int), np.sort(hits[alone].astype(int))])
    if len(size) == 1:
        return 1.0
    between, within = np.sum((hit - size * mean) ** 2), num * mean * (1 - mean)
    return num / max(between / within, 1.0) if within else float(len(size))


def resample(strata: Ints, n_bootstrap: int, rng: np.random.Generator) -> Iterator[Weights]:
    """Yield how often each cluster is drawn with replacement within its stratum, (b, U) at a time."""
    step = max(CHUNK // len(strata), 1)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for start in range(0, n_bootstrap, step):
        num = min(step, n_bootstrap - start)
        counts = np.empty((num, len(strata)), np.int32)
        for clusters in members:
            size = len(clusters)
            sampled = rng.integers(0, size, (num, size)) + size * np.arange(num)[:, None]
            counts[:, clusters] = np.bincount(sampled.ravel(), minlength=num * size).reshape(num, size)
        yield counts


class _Statistics:
    """The metrics of one sample under any weights; what does not depend on the weights is computed once."""

    def __init__(self, sample: BootstrapSample) -> None:
        self.num_real = int(np.searchsorted(sample.parts, 0))
        reals, fakes = -sample.scores[: self.num_real], -sample.scores[self.num_real :]
        self.part = sample.parts[self.num_real :]
        self.starts = np.searchsorted(self.part, np.arange(sample.parts[-1] + 1))
        self.above = np.searchsorted(reals, fakes, side="left")  # reals that score higher than each fake
        self.at_least = np.searchsorted(reals, fakes, side="right")  # or as high
        parts = zip(np.split(fakes, self.starts[1:]), self.starts, strict=True)
        # Fakes, earlier parts included, down to the last that ties with each.
        self.last = np.concatenate([np.searchsorted(part, part, side="right") + start for part, start in parts])

    def __call__(self, weights: Weights) -> Metrics:
        weight = weights[:, self.num_real :]
        total = np.cumsum(np.pad(weights, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
        real, fake = total[:, : self.num_real + 1], total[:, self.num_real :]
        num_real, num_fake = real[:, -1:], self._sum(weight).astype(np.float64)
        fp = real[:, self.at_least]
        tp = fake[:, self.last] - fake[:, self.starts[self.part]]
        with np.errstate(invalid="ignore", divide="ignore"):
            wins = self._sum(weight * (2 * num_real - fp - real[:, self.above]))
            draws = {
                "auroc": wins / (2 * num_real * num_fake),
                "ap": self._sum(weight * (tp / np.maximum(tp + fp, 1))) / num_fake,
                "tpr_at_fpr1": self._sum(weight * (fp / num_real <= 0.01)) / num_fake,
                "tpr_at_fpr5": self._sum(weight * (fp / num_real <= 0.05)) / num_fake,
            }
        return {name: np.where(num_real > 0, value, np.nan) for name, value in draws.items()}

    def _sum(self, values: Array) -> Array:
        """Sum over the fakes of each part, (b, C)."""
        return np.add.reduceat(values, self.starts, axis=1, dtype=np.result_type(values.dtype, np.int64))
