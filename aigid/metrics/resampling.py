"""A stratified, group-aware bootstrap of ranking metrics and of the calibration error."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.metrics.classification import Array, Floats

N_BOOTSTRAP, MIN_DRAWS, MAX_SAMPLED_ROWS = 1000, 200, 200_000_000
CHUNK = 1 << 17  # weights at a time: few enough to stay in the processor's cache

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Weights = NDArray[np.int32]
Metrics = dict[str, Floats]


@dataclass(frozen=True)
class BootstrapSample:
    """The rows to resample, sorted by part and falling score, reals first.

    ``scores`` (N,); ``parts`` (N,) is -1 for a real, else the number of the part that a fake is evaluated in. Rows of
    one of the ``clusters`` (N,) are drawn together, within the ``strata`` (U,) of the clusters.
    """

    scores: Floats
    parts: Codes
    clusters: Codes
    strata: Codes


def population(
    labels: Array, scores: Array, parts: Array | None = None, groups: Array | None = None
) -> BootstrapSample:
    """Build the sample of rows (N,) of reals (label 0) and fakes (label 1), in any order.

    ``parts`` names each fake's part, such as its generator (all are one part if None). Rows with one name, or number,
    in ``groups`` are one cluster; ``""``, or -1, is alone. A cluster's stratum is its first part, reals being first.
    """
    is_fake = labels == 1
    part = np.full(len(labels), -1, np.int32)
    part[is_fake] = 0 if parts is None else np.unique(parts[is_fake], return_inverse=True)[1]
    group = np.full(len(labels), -1, np.int32) if groups is None else group_codes(groups).astype(np.int32)
    order = np.lexsort((group, -scores, part)).astype(np.int32)
    part, group = part[order], group[order]
    alone = group < 0
    group += np.int32(alone.sum())  # which come first
    group[alone] = np.arange(alone.sum(), dtype=np.int32)
    clusters = (np.cumsum(np.bincount(group) > 0, dtype=np.int32) - 1)[group]
    strata = np.full(clusters.max() + 1, part.max(), np.int32)
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
    bins = np.maximum(np.searchsorted(bin_edges, sample.scores, side="left") - 1, 0).astype(np.int16)
    order = np.lexsort((sample.clusters, bins)).astype(np.int32)
    bins, clusters = bins[order], sample.clusters[order]
    first = np.append(True, (bins[1:] != bins[:-1]) | (clusters[1:] != clusters[:-1]))  # of a cluster in a bin
    rows = np.empty(len(order), np.int32)
    rows[order] = np.cumsum(first, dtype=np.int32)
    clusters, bins = clusters[first], bins[first]
    del order, first
    excess = np.bincount(rows, sample.scores - (sample.parts >= 0))[1:]
    starts = np.flatnonzero(np.diff(bins, prepend=-1))  # of each bin
    size = np.bincount(sample.clusters, minlength=len(sample.strata)).astype(np.int32)
    del rows, bins
    draws = resample(sample.strata, n_bootstrap, rng)
    sums = ((np.add.reduceat(counts[:, clusters] * excess, starts, axis=1), counts @ size) for counts in draws)
    return np.concatenate([np.abs(by_bin).sum(axis=1) / total for by_bin, total in sums])


def limit_draws(n_bootstrap: int, num: int) -> int:
    """Return at most ``n_bootstrap``, fewer for so many rows ``num`` that a draw takes a tenth of a second."""
    return min(n_bootstrap, max(MAX_SAMPLED_ROWS // max(num, 1), MIN_DRAWS))


def group_codes(groups: pd.DataFrame | pd.Series | Array) -> Ints:
    """Return the number of each row's group (N,) in the order of their names, -1 where it has none; numbers stay."""
    if isinstance(groups, pd.DataFrame):
        groups = groups["group"] if "group" in groups else np.full(len(groups), -1, np.int8)
    if groups.dtype.kind == "i":
        return np.asarray(groups)
    codes, names = pd.factorize(groups if isinstance(groups, pd.Series) else groups.astype(object), sort=True)
    return codes - 1 if "" in names[:1] else codes


def num_clusters(groups: pd.DataFrame | pd.Series | Array) -> int:
    """Return the number of groups of rows (N,), each row without one counting as one."""
    codes = group_codes(groups)
    return int((codes < 0).sum()) + len(np.unique(codes[codes >= 0]))


def resample(strata: Codes, n_bootstrap: int, rng: np.random.Generator) -> Iterator[Weights]:
    """Yield how often each cluster is drawn with replacement within its stratum, (b, U) at a time.

    Of a stratum of more than ``CHUNK``, blocks of so many first draw how often they are drawn in total: the same
    distribution, with counts that stay in the processor's cache.
    """
    step = max(CHUNK // len(strata), 1)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    for start in range(0, n_bootstrap, step):
        num = min(step, n_bootstrap - start)
        counts = np.empty((num, len(strata)), np.int32)
        for clusters in members:
            size = len(clusters)
            if size > CHUNK:
                parts = np.split(clusters, range(CHUNK, size, CHUNK))
                totals = rng.multinomial(size, np.array([len(part) for part in parts]) / size)
                for part, total in zip(parts, totals, strict=True):
                    counts[0, part] = np.bincount(rng.integers(0, len(part), total), minlength=len(part))
                continue
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
        # Reals that score higher than each fake, or as high.
        sides = (np.searchsorted(reals, fakes, side=side) for side in ("left", "right"))
        self.above, self.at_least = (side.astype(np.int32) for side in sides)
        parts = zip(np.split(fakes, self.starts[1:]), self.starts, strict=True)
        # Fakes, earlier parts included, down to the last that ties with each.
        self.last = np.concatenate(
            [(np.searchsorted(part, part, side="right") + start).astype(np.int32) for part, start in parts]
        )

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
