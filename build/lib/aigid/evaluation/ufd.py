"""What UniversalFakeDetect's published code does with scores (Ojha et al. 2023), its quirks included."""

import random
from collections.abc import Sequence

import numpy as np

SAMPLE, FALLBACK = 1000, 100  # images a class


def ufd_subsample(reals: Sequence[float], fakes: Sequence[float], seed: int = 0) -> tuple[list[float], list[float]]:
    """Sample as UniversalFakeDetect: 1,000 images a class, or 100 where either class has fewer (dataset.py)."""
    rng = random.Random(seed)
    size = SAMPLE if min(len(reals), len(fakes)) >= SAMPLE else FALLBACK
    reals, fakes = list(reals), list(fakes)
    rng.shuffle(reals)
    rng.shuffle(fakes)
    return reals[:size], fakes[:size]


def ufd_threshold(reals: Sequence[float], fakes: Sequence[float]) -> float:
    """Return UniversalFakeDetect's oracle threshold by its published search (Ojha et al. 2023, validate.py).

    Where the classes separate it lies half-way. Else it is the score ``t`` of the last image, reals before fakes,
    that is as good as any under ``score >= t``; as accuracy is then counted under ``score > t``, that image changes
    sides: the quirk to reproduce.
    """
    real, fake = np.asarray(reals, np.float64), np.asarray(fakes, np.float64)
    if real.max() <= fake.min():
        return float((real.max() + fake.min()) / 2)
    candidates = np.concatenate([real, fake])
    correct = np.searchsorted(np.sort(real), candidates) + len(fake) - np.searchsorted(np.sort(fake), candidates)
    return float(candidates[len(candidates) - 1 - np.argmax(correct[::-1])])
