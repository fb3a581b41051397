"""How far a number may be off: a stratified, group-aware bootstrap of the ranking metrics, and intervals for shares."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.special import ndtr, ndtri, stdtrit

from aigid.metrics.classification import Floats, auroc, rank

CONFIDENCE = 0.95
DRAWS, FEWEST_DRAWS, MOST_DRAWN = 1000, 200, 200_000_000  # the last in rows
CHUNK = 1 << 17  # weights held at once: few enough to stay in the processor's cache

Ints = NDArray[np.int64]
Weights = NDArray[np.int32]
Draws = dict[str, Floats]


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, low: float, high: float) -> "Interval":
        """Return an interval that holds its value, as one of draws need not."""
        return cls(value, min(low, value), max(high, value))


@dataclass(frozen=True)
class BootstrapSample:
    """What is drawn from: rows sorted by part and falling score, reals first.

    ``scores`` (N,); ``parts`` (N,) is -1 for a real, else the number of the part a fake is judged in. Rows of one of
    the ``clusters`` (N,) are drawn together; units of one of the ``strata`` (U,) stand in for each other.
    """

    scores: Floats
    parts: Ints
    clusters: Ints
    strata: Ints


def population(
    labels: NDArray, scores: NDArray, parts: NDArray | None = None, groups: NDArray | None = None
) -> BootstrapSample:
    """The population of rows (N,) that holds reals (label 0) and fakes (label 1), whatever order they come in.

    ``parts`` names each fake's part, such as its generator (all are one part if None). Rows with one name in
    ``groups`` are one unit; ``""`` stands alone. A unit's stratum is its first part, reals being first of all.
    """
    is_fake = labels == 1
    part = np.full(len(labels), -1)
    part[is_fake] = 0 if parts is None else np.unique(parts[is_fake], return_inverse=True)[1]
    name = np.full(len(labels), "") if groups is None else groups.astype(str)
    group = np.unique(name, return_inverse=True)[1] + len(name)
    order = np.lexsort((group, -scores, part))
    part, group, alone = part[order], group[order], name[order] == ""
    group[alone] = np.arange(alone.sum())
    units = np.unique(group, return_inverse=True)[1]
    strata = np.full(units.max() + 1, part.max())
    np.minimum.at(strata, units, part)
    return BootstrapSample(np.asarray(scores, np.float64)[order], part, units, strata)


def bootstrap(rows: BootstrapSample, draws: int, rng: np.random.Generator) -> Draws:
    """``auroc``, ``ap``, ``tpr_at_fpr1`` and ``tpr_at_fpr5`` of each draw and part, (draws, C).

    NaN where a draw holds no real or no fake of the part.
    """
    statistics = _Statistics(rows)
    chunks = [statistics(counts[:, rows.clusters]) for counts in _resample(rows.strata, draws, rng)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def auroc_intervals(
    labels: NDArray, scores: NDArray, groups: NDArray, seed: int, parts: NDArray | None = None, draws: int = 500
) -> dict[str, Interval]:
    """Return the AUROC of each part's fakes against all reals, by the part's name (``""`` without ``parts``)."""
    names = np.full(len(labels), "") if parts is None else parts
    values, drawn = _auroc_draws(labels, scores, groups, seed, names, draws)
    found = {}
    for place, name in enumerate(np.unique(names[labels == 1])):
        rows = (labels == 0) | (names == name)
        limits = interval(drawn[:, place], num_independent(labels[rows], groups[rows]))
        found[str(name)] = Interval.around(values[place], *limits)
    return found


def auroc_interval(
    labels: NDArray, runs: NDArray, groups: NDArray, seed: int, parts: NDArray | None = None, draws: int = 500
) -> tuple[Interval, list[float]]:
    """Return the mean AUROC over parts and over ``runs`` (S, N) of scores, and that of each run.

    A draw is of whole groups, the same for all runs: the interval tells of the images, not of a training's chance.
    """
    names = np.full(len(labels), "") if parts is None else parts
    found = [_auroc_draws(labels, scores, groups, seed, names, draws) for scores in runs]
    values = [float(np.mean(value)) for value, _ in found]
    drawn = np.mean([drawn.mean(axis=1) for _, drawn in found], axis=0)
    return Interval.around(float(np.mean(values)), *interval(drawn, num_independent(labels, groups))), values


def _auroc_draws(
    labels: NDArray, scores: NDArray, groups: NDArray, seed: int, names: NDArray, draws: int
) -> tuple[list[float], Floats]:
    """AUROC of each part (C,), and of each draw and part (draws, C)."""
    parts = [(labels == 0) | (names == name) for name in np.unique(names[labels == 1])]
    drawn = bootstrap(population(labels, scores, names, groups), draws, np.random.default_rng(seed))["auroc"]
    return [auroc(rank(labels[rows], scores[rows])) for rows in parts], drawn


def bootstrap_error(rows: BootstrapSample, edges: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """The expected calibration error of each draw, (draws,): reals and fakes pooled, in the bins between ``edges``."""
    error = _Error(rows, edges)
    return np.concatenate([error(counts) for counts in _resample(rows.strata, draws, rng)])


def limit_draws(draws: int, num: int) -> int:
    """At most ``draws`` of ``num`` rows: fewer of so many that a draw costs a tenth of a second and adds little."""
    return min(draws, max(MOST_DRAWN // max(num, 1), FEWEST_DRAWS))


def basic_interval(draws: Floats, value: float, level: float = CONFIDENCE) -> tuple[float, float]:
    """The basic interval of a ``value`` in [0, 1] whose draws (B,) are biased, as those of an error are: upwards."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return max(float(2 * value - high), 0.0), min(float(2 * value - low), 1.0)


def interval(draws: Floats, num: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of draws (B,), widened for ``num``, the independent images of the smaller class.

    Draws of n images spread too little by (n - 1) / n and as a normal, not as Student's t (Hesterberg 2015).
    """
    num = max(num, 2)
    tail = ndtr(np.sqrt(num / (num - 1)) * stdtrit(num - 1, (1 - level) / 2))
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def perfect_auroc_lower_bound(num: int, level: float = CONFIDENCE) -> float:
    """The lower bound of an AUROC of 1 on ``num`` independent images of the smaller class, where every draw gives 1.

    Reals and fakes form ``num`` independent pairs, all of them in order (Clopper and Pearson 1934).
    """
    return ((1 - level) / 2) ** (1 / num)


def group_names(images: pd.DataFrame) -> NDArray:
    """The group of each row (N,), ``""`` where it stands alone."""
    return images["group"].to_numpy(str) if "group" in images else np.full(len(images), "")


def number_units(groups: NDArray) -> Ints:
    """Number the units (N,): rows of one group name are one, ``""`` stands alone."""
    alone = np.array([f"\0{place}" for place in range(len(groups))])
    return np.unique(np.where(groups == "", alone, groups), return_inverse=True)[1]


def num_independent(labels: NDArray, groups: NDArray) -> int:
    """How many units the rows (N,) of the smaller class make by their group names, ``""`` standing alone."""
    return min(
        len(np.unique(own[own != ""])) + int(np.sum(own == "")) for own in (groups[labels == 0], groups[labels == 1])
    )


def wilson_interval(hits: NDArray, groups: NDArray | None = None, level: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval for the mean of ``hits`` (N,) of 0 and 1, counting only the ``num_effective`` images."""
    mean, num = float(np.mean(hits)), effective_sample_size(hits, groups)
    z2 = ndtri((1 + level) / 2) ** 2
    middle = (mean + z2 / (2 * num)) / (1 + z2 / num)
    half = np.sqrt(z2 * mean * (1 - mean) / num + z2**2 / (4 * num**2)) / (1 + z2 / num)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def effective_sample_size(hits: NDArray, groups: NDArray | None = None) -> float:
    """How many independent images tell as much about the mean of ``hits`` (N,) of 0 and 1.

    Images of one group agree with each other; N is divided by the design effect, the variance between groups over
    that of independent images (Kish 1965). If all hits are equal, each group counts as one image; one group alone
    counts as one.
    """
    num, mean = float(len(hits)), float(np.mean(hits))
    if groups is None:
        return num
    size, hit = _by_unit(hits, groups)
    if len(size) == 1:
        return 1.0
    between, within = np.sum((hit - size * mean) ** 2), num * mean * (1 - mean)
    return num / max(between / within, 1.0) if within else float(len(size))


def _by_unit(hits: NDArray, groups: NDArray) -> tuple[Ints, Ints]:
    """How many rows and how many hits each unit has, (U,) each, in an order of their own."""
    alone = groups == ""
    group = np.unique(groups[~alone].astype(str), return_inverse=True)[1]
    size = np.concatenate([np.bincount(group), np.ones(alone.sum(), int)])
    return size, np.concatenate([np.bincount(group, hits[~alone]).astype(int), np.sort(hits[alone].astype(int))])


def _resample(strata: Ints, draws: int, rng: np.random.Generator) -> Iterator[Weights]:
    """How often each unit is drawn, (b, U) at a time: with replacement, within its stratum."""
    step = max(CHUNK // len(strata), 1)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for start in range(0, draws, step):
        num = min(step, draws - start)
        counts = np.empty((num, len(strata)), np.int32)
        for units in members:
            size = len(units)
            drawn = rng.integers(0, size, (num, size)) + size * np.arange(num)[:, None]
            counts[:, units] = np.bincount(drawn.ravel(), minlength=num * size).reshape(num, size)
        yield counts


class _Statistics:
    """The metrics of one population under any weights; what does not depend on the weights is done once."""

    def __init__(self, rows: BootstrapSample) -> None:
        self.num_real = int(np.searchsorted(rows.parts, 0))
        reals, fakes = -rows.scores[: self.num_real], -rows.scores[self.num_real :]
        self.starts = np.searchsorted(rows.parts[self.num_real :], np.arange(rows.parts[-1] + 1))
        self.above = np.searchsorted(reals, fakes, side="left")  # reals that score higher than each fake
        self.at_least = np.searchsorted(reals, fakes, side="right")  # or as high
        parts = np.split(fakes, self.starts[1:])
        last = [
            np.searchsorted(part, part, side="right") + start for part, start in zip(parts, self.starts, strict=True)
        ]
        self.last = np.concatenate(last)  # fakes, earlier parts included, down to the last that ties with each
        self.part = rows.parts[self.num_real :]

    def __call__(self, weights: Weights) -> Draws:
        real, fake = _cumulate(weights[:, : self.num_real]), _cumulate(weights[:, self.num_real :])
        weight = weights[:, self.num_real :]
        num_real = real[:, -1:]
        num_fake = self._sum(weight).astype(np.float64)
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

    def _sum(self, values: NDArray) -> NDArray:
        """Over the fakes of each part, (b, C)."""
        return np.add.reduceat(values, self.starts, axis=1, dtype=np.result_type(values.dtype, np.int64))


class _Error:
    """The calibration error of one population under any weights of its units: the sums of each unit in each bin."""

    def __init__(self, rows: BootstrapSample, edges: Floats) -> None:
        bins = np.maximum(np.searchsorted(edges, rows.scores, side="left") - 1, 0)
        shape = len(rows.strata), len(edges) - 1
        self.excess = coo_array((rows.scores - (rows.parts >= 0), (rows.clusters, bins)), shape).tocsr()
        self.size = np.bincount(rows.clusters, minlength=len(rows.strata))

    def __call__(self, counts: Weights) -> Floats:
        return np.abs(counts @ self.excess).sum(axis=1) / (counts @ self.size)


def _cumulate(weights: Weights) -> Weights:
    total = np.zeros((len(weights), weights.shape[1] + 1), np.int32)
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total
