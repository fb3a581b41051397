"""Scores in order: the two sorted classes and the counts above each cut, from which every metric is read."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The scores of the reals (N,) and of the fakes (P,), each ascending, so that no digit depends on row order."""

    reals: Floats
    fakes: Floats

    @cached_property
    def cuts(self) -> Floats:
        """The distinct scores, descending, (K,)."""
        merged = np.sort(np.concatenate([self.reals, self.fakes]))[::-1]
        return merged[np.concatenate([merged[:1] == merged[:1], merged[1:] != merged[:-1]])]

    @cached_property
    def tp(self) -> Counts:
        """How many fakes score at least each cut, (K,)."""
        return len(self.fakes) - np.searchsorted(self.fakes, self.cuts)

    @cached_property
    def fp(self) -> Counts:
        """How many reals score at least each cut, (K,)."""
        return len(self.reals) - np.searchsorted(self.reals, self.cuts)

    @property
    def has_both(self) -> bool:
        return len(self.reals) > 0 and len(self.fakes) > 0


def rank(labels: ArrayLike, scores: ArrayLike) -> Ranking:
    """The ranking of scores (N,) in [0, 1] with labels (N,): 0 real, 1 generated."""
    scores, is_fake = np.asarray(scores, np.float64), np.asarray(labels) == 1
    return Ranking(np.sort(scores[~is_fake]), np.sort(scores[is_fake]))
