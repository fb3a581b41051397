"""Confidence intervals: of AUROC by a bootstrap of groups, of shares by Wilson."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core.special import normal_cdf, normal_quantile, student_quantile
from aigid.metrics.classification import Array, Floats, auroc, rank
from aigid.metrics.resampling import bootstrap, group_codes, num_clusters, population

CONFIDENCE = 0.95
Ints = NDArray[np.int64]


class Interval(NamedTuple):
    """A value and its 95 % interval, which is that of the draws: it need not contain the value."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, row: Mapping[Any, Any], name: str) -> Self:
        """Return that of a row's columns ``<name>``, ``<name>_low`` and ``<name>_high``."""
        return cls(*(row[f"{name}{end}"] for end in ("", "_low", "_high")))

    def __str__(self) -> str:
        """Return ``0.912 [0.898, 0.925]``."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    return min(num_clusters(groups[labels == label]) for label in (0, 1))


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
    codes = group_codes(groups)
    alone = codes < 0
    sizes = np.bincount(codes[~alone])
    size = np.concatenate([sizes[sizes > 0], np.ones(alone.sum(), int)])
    hit = np.bincount(codes[~alone], hits[~alone])[sizes > 0].astype(int)
    hit = np.concatenate([hit, np.sort(hits[alone].astype(int))])
    if len(size) == 1:
        return 1.0
    between, within = np.sum((hit - size * mean) ** 2), num * mean * (1 - mean)
    return num / max(between / within, 1.0) if within else float(len(size))
