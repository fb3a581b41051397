"""Where to cut: a score above the threshold says generated."""

import random
from collections.abc import Sequence

import numpy as np

from aigid.evaluation.ranking import Ranking

UFD_SAMPLE = 1000
UFD_FALLBACK = 100


def most_accurate(ranking: Ranking) -> float:
    """The threshold with the highest accuracy on these very images, found in O(N log N).

    Called on the validation rows it is the validation threshold; called on the test rows, the oracle. Among equally
    good cuts the middle one counts. Cuts lie half-way between neighbouring scores; -1 means that all are called
    generated although some score 0.
    """
    correct = np.concatenate([[0], ranking.tp - ranking.fp])
    best = np.flatnonzero(correct == correct.max())
    return _between(ranking, int(best[(len(best) - 1) // 2]))


def at_most_fpr(ranking: Ranking, fpr: float) -> float:
    """The lowest threshold that calls at most the share ``fpr`` of these reals generated."""
    return _between(ranking, int(np.sum(ranking.fp / len(ranking.reals) <= fpr)))


def _between(ranking: Ranking, above: int) -> float:
    """A threshold that exactly the ``above`` highest distinct scores exceed."""
    high = ranking.cuts[above - 1] if above else 1.0
    low = ranking.cuts[above] if above < len(ranking.cuts) else 0.0 if high > 0 else -2.0
    middle = low + (high - low) / 2
    return float(low if middle >= high and above else middle)


def ufd_sample(reals: Sequence[float], fakes: Sequence[float], seed: int = 0) -> tuple[list[float], list[float]]:
    """The images that UniversalFakeDetect draws: 1,000 a class, or 100 where either class has fewer (dataset.py)."""
    draw = random.Random(seed)
    size = UFD_SAMPLE if min(len(reals), len(fakes)) >= UFD_SAMPLE else UFD_FALLBACK
    sides = list(reals), list(fakes)
    for side in sides:
        draw.shuffle(side)
    return sides[0][:size], sides[1][:size]


def ufd_compat(reals: Sequence[float], fakes: Sequence[float]) -> float:
    """UniversalFakeDetect's oracle threshold, as its published search finds it (Ojha et al. 2023, validate.py).

    Where the classes separate it lies half-way. Else it is the score ``t`` of the last image, reals before fakes,
    that is as good as any under ``score >= t``; as accuracy is then counted under ``score > t``, that image changes
    sides: the quirk to reproduce.
    """
    real, fake = np.asarray(reals, np.float64), np.asarray(fakes, np.float64)
    if real.max() <= fake.min():
        return float((real.max() + fake.min()) / 2)
    tried = np.concatenate([real, fake])
    correct = np.searchsorted(np.sort(real), tried) + len(fake) - np.searchsorted(np.sort(fake), tried)
    return float(tried[len(tried) - 1 - np.argmax(correct[::-1])])
