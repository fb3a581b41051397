"""Is a score of 0.8 generated eight times in ten? Errors of the scores as probabilities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from aigid.core.errors import InputError
from aigid.metrics.classification import Floats, Ranking

BINS = 15


def reliability_curve(ranking: Ranking, edges: Floats) -> pd.DataFrame:
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


def expected_calibration_error(ranking: Ranking, edges: Floats) -> float:
    """ECE: the mean over images of their bin's |mean score - share of fakes| (Naeini et al. 2015)."""
    bins = reliability_curve(ranking, edges)
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


# Calibrators: maps from a detector's scores to probabilities, fitted on validation images.

EPS = np.finfo(np.float64).eps
Parameters = dict[str, list[float]]


@dataclass(frozen=True)
class Calibrator:
    """A monotone map of scores; ``population`` says on which images it was fitted and so for which it holds."""

    kind: str
    parameters: Parameters
    population: dict[str, object]

    def __call__(self, scores: ArrayLike) -> Floats:
        """Calibrated scores (N,), in the order of the old ones."""
        return _KINDS[self.kind][1](np.asarray(scores, np.float64), self.parameters)


def fit(kind: str, rows: pd.DataFrame) -> Calibrator:
    """The calibrator of a kind (``temperature``, ``platt``, ``beta``, ``isotonic``) on checked validation ``rows``.

    They are images of one view; those without a score are left out. InputError where a class is missing.
    """
    if kind not in _KINDS:
        raise InputError(f"calibrator {kind!r}: known are {', '.join(_KINDS)}")
    rows = rows[rows["score"].notna()].sort_values("path")
    num_real, num_fake = int((rows["label"] == 0).sum()), int((rows["label"] == 1).sum())
    if not num_real or not num_fake:
        raise InputError(f"calibration needs validation rows of both classes; found {num_real} real, {num_fake} fake")
    named = rows["group"][rows["group"] != ""] if "group" in rows else pd.Series(dtype=object)
    population = {
        "view": str(rows["view"].iloc[0]),
        "num_real": num_real,
        "num_fake": num_fake,
        "num_groups": len(rows) - len(named) + named.nunique(),
        "generators": sorted(set(rows.loc[rows["label"] == 1, "generator"])),
        "sources": sorted(set(rows.loc[rows["label"] == 0, "source"]) - {""}) if "source" in rows else [],
    }
    return Calibrator(kind, _KINDS[kind][0](rows["score"].to_numpy(), rows["label"].to_numpy()), population)


def _logits(scores: Floats) -> Floats:
    return logit(np.clip(scores, EPS, 1 - EPS))


def _log_odds(scores: Floats) -> Floats:
    """The two halves of the logit, (N, 2): ln s and -ln(1 - s)."""
    scores = np.clip(scores, EPS, 1 - EPS)
    return np.stack([np.log(scores), -np.log1p(-scores)], axis=1)


def _fit_logistic(features: Floats, labels: Floats, slopes: int) -> list[float]:
    """Logistic regression of features (N, F) whose first ``slopes`` weights may not be negative.

    The labels are drawn in by one imaginary image a class (Platt 1999), so that separable scores have a solution.
    """
    num = labels.sum(), len(labels) - labels.sum()
    target = np.where(labels == 1, (num[0] + 1) / (num[0] + 2), 1 / (num[1] + 2))

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = features @ weights
        return float(np.mean(np.logaddexp(0, z) - target * z)), features.T @ (expit(z) - target) / len(z)

    start = np.where(np.arange(features.shape[1]) < slopes, 1.0, 0.0)
    bounds = [(0, None)] * slopes + [(None, None)] * (features.shape[1] - slopes)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x.tolist()


def _fit_temperature(scores: Floats, labels: Floats) -> Parameters:
    """Guo et al. 2017: one slope, 1 / temperature."""
    return {"weights": _fit_logistic(_logits(scores)[:, None], labels, 1)}


def _fit_platt(scores: Floats, labels: Floats) -> Parameters:
    """Platt 1999, on the logit: slope and offset."""
    return {"weights": _fit_logistic(np.stack([_logits(scores), np.ones(len(scores))], axis=1), labels, 1)}


def _fit_beta(scores: Floats, labels: Floats) -> Parameters:
    """Kull et al. 2017: a slope for ln s, one for -ln(1 - s), and an offset."""
    return {"weights": _fit_logistic(np.column_stack([_log_odds(scores), np.ones(len(scores))]), labels, 2)}


def _fit_isotonic(scores: Floats, labels: Floats) -> Parameters:
    """Zadrozny and Elkan 2002: the best step function, drawn straight between the validation scores."""
    knots, place, num = np.unique(scores, return_inverse=True, return_counts=True)
    share = np.bincount(place, labels) / num
    return {"scores": knots.tolist(), "shares": isotonic_regression(share, weights=num).x.tolist()}


def _linear(scores: Floats, parameters: Parameters) -> Floats:
    slope, offset = [*parameters["weights"], 0.0][:2]
    return expit(slope * _logits(scores) + offset)


def _beta(scores: Floats, parameters: Parameters) -> Floats:
    weights = np.array(parameters["weights"])
    return expit(_log_odds(scores) @ weights[:2] + weights[2])


def _isotonic_steps(scores: Floats, parameters: Parameters) -> Floats:
    return np.interp(scores, parameters["scores"], parameters["shares"])


_KINDS: dict[str, tuple[Callable[[Floats, Floats], Parameters], Callable[[Floats, Parameters], Floats]]] = {
    "temperature": (_fit_temperature, _linear),
    "platt": (_fit_platt, _linear),
    "beta": (_fit_beta, _beta),
    "isotonic": (_fit_isotonic, _isotonic_steps),
}
