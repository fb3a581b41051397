"""Is a score of 0.8 generated eight times in ten? Errors of the scores as probabilities."""

import numpy as np
import pandas as pd

from aigid.evaluation.ranking import Floats, Ranking

BINS = 15


def reliability(ranking: Ranking, edges: Floats) -> pd.DataFrame:
    """Per bin that holds an image: ``low, high, num, score`` (mean) and ``share`` (of fakes), bins being (low, high].

    ``edges`` (B + 1,) ascend; the first bin takes its lower edge as well, and every score must fall in a bin.
    """
    rows = []
    stops = [np.searchsorted(side, edges[1:], side="right") for side in (ranking.reals, ranking.fakes)]
    starts = [np.concatenate([[0], stop[:-1]]) for stop in stops]
    for b in range(len(edges) - 1):
        real, fake = (
            side[start[b] : stop[b]]
            for side, start, stop in zip((ranking.reals, ranking.fakes), starts, stops, strict=True)
        )
        if num := len(real) + len(fake):
            rows.append((edges[b], edges[b + 1], num, (real.sum() + fake.sum()) / num, len(fake) / num))
    return pd.DataFrame(rows, columns=["low", "high", "num", "score", "share"])


def equal_width(bins: int = BINS) -> Floats:
    """The edges of ``bins`` bins of one width, (bins + 1,)."""
    return np.linspace(0, 1, bins + 1)


def equal_mass(ranking: Ranking, bins: int = BINS) -> Floats:
    """The edges of at most ``bins`` bins that hold equally many images; equal scores share one bin."""
    scores = np.sort(np.concatenate([ranking.reals, ranking.fakes]))
    last = np.ceil(np.arange(1, bins + 1) * len(scores) / bins).astype(int) - 1
    return np.concatenate([[0.0], np.unique(scores[last])])


def expected_error(ranking: Ranking, edges: Floats) -> float:
    """ECE: the mean over images of their bin's |mean score - share of fakes| (Naeini et al. 2015)."""
    bins = reliability(ranking, edges)
    return float(np.average(np.abs(bins["score"] - bins["share"]), weights=bins["num"]))


def brier(ranking: Ranking) -> float:
    """The mean squared distance from score to label."""
    return _mean(np.square(ranking.reals), np.square(1 - ranking.fakes))


def log_loss(ranking: Ranking) -> float:
    """The mean negative log-likelihood in nats, scores clipped to machine epsilon from 0 and 1 as in scikit-learn."""
    eps = np.finfo(np.float64).eps
    reals, fakes = (np.clip(side, eps, 1 - eps) for side in (ranking.reals, ranking.fakes))
    return _mean(-np.log1p(-reals), -np.log(fakes))


def _mean(reals: Floats, fakes: Floats) -> float:
    return float((reals.sum() + fakes.sum()) / (len(reals) + len(fakes)))
