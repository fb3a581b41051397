"""Scores as probabilities: calibration errors, reliability curves, and calibrators fitted on validation images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from aigid.core.errors import InputError
from aigid.core.special import expit, fit_logistic, isotonic_regression, logit
from aigid.metrics.classification import Floats, Ranking
from aigid.metrics.resampling import num_clusters

BINS = 15
EQUAL_WIDTH: Floats = np.linspace(0, 1, BINS + 1)  # edges of bins
EPS = np.finfo(np.float64).eps
Parameters = dict[str, list[float]]


def reliability_curve(ranking: Ranking, bin_edges: Floats = EQUAL_WIDTH) -> pd.DataFrame:
    """Return, per bin (low, high] with an image, ``low, high, num, score`` (mean) and ``share`` (of fakes).

    ``bin_edges`` (B + 1,) ascend; the first bin includes its lower edge, and every score must fall in a bin.
    """
    sides = ranking.reals, ranking.fakes
    stops = [np.searchsorted(side, bin_edges[1:], side="right") for side in sides]
    rows = []
    for b in range(len(bin_edges) - 1):
        real, fake = (side[stop[b - 1] if b else 0 : stop[b]] for side, stop in zip(sides, stops, strict=True))
        if num := len(real) + len(fake):
            rows.append((bin_edges[b], bin_edges[b + 1], num, (real.sum() + fake.sum()) / num, len(fake) / num))
    return pd.DataFrame(rows, columns=["low", "high", "num", "score", "share"])


def equal_mass(ranking: Ranking, bins: int = BINS) -> Floats:
    """Return the edges of at most ``bins`` bins with equally many images; equal scores share one bin."""
    scores = np.sort(np.concatenate([ranking.reals, ranking.fakes]))
    last = np.ceil(np.arange(1, bins + 1) * len(scores) / bins).astype(int) - 1
    return np.concatenate([[0.0], np.unique(scores[last])])


def expected_calibration_error(ranking: Ranking, bin_edges: Floats = EQUAL_WIDTH) -> float:
    """Return ECE: the mean over images of their bin's |mean score - share of fakes| (Naeini et al. 2015)."""
    bins = reliability_curve(ranking, bin_edges)
    return float(np.average(np.abs(bins["score"] - bins["share"]), weights=bins["num"]))


def brier(ranking: Ranking) -> float:
    """Return the mean squared distance from score to label."""
    return _mean(np.square(ranking.reals), np.square(1 - ranking.fakes))


def log_loss(ranking: Ranking) -> float:
    """Return the mean negative log-likelihood in nats, scores clipped to EPS from 0 and 1 as in scikit-learn."""
    reals, fakes = (np.clip(side, EPS, 1 - EPS) for side in (ranking.reals, ranking.fakes))
    return _mean(-np.log1p(-reals), -np.log(fakes))


def _mean(reals: Floats, fakes: Floats) -> float:
    return float((reals.sum() + fakes.sum()) / (len(reals) + len(fakes)))


@dataclass(frozen=True)
class Calibrator:
    """A monotone map from scores to probabilities; ``population`` describes the images it was fitted on."""

    kind: str
    parameters: Parameters
    population: dict[str, object]  # its name is a JSON key

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the calibrated scores (N,)."""
        scores = np.asarray(scores, np.float64)
        if self.kind == "isotonic":
            return np.interp(scores, self.parameters["scores"], self.parameters["shares"])
        features, _ = _FEATURES[self.kind]
        # A product by columns, unlike BLAS, gives the same bytes on every processor.
        return np.asarray(expit((features(scores) * self.parameters["weights"]).sum(axis=1)))


def require_same_model(calibrator: Calibrator, models: set[str]) -> str:
    """Return a caution where it is not known whose scores a calibrator, or those of ``models``, are; else nothing.

    InputError where it was fitted on the scores of another model.
    """
    known: Any = calibrator.population.get("models", [])
    fitted_on = {str(name) for name in known}
    if not fitted_on or "" in models:
        return "not known: whether the calibrator was fitted on scores of this detector; of another it means nothing"
    if fitted_on != models:
        names, others = (", ".join(sorted(part)) for part in (fitted_on, models))
        raise InputError(f"the calibrator was fitted on scores of {names}, not of {others}")
    return ""


def fit(kind: str, rows: pd.DataFrame) -> Calibrator:
    """Fit a calibrator (``temperature``, ``platt``, ``beta``, ``isotonic``) on checked validation ``rows``.

    They are images of one view; those without a score are left out. InputError where a class is missing.
    """
    if kind not in KINDS:
        raise InputError(f"calibrator {kind!r}: known are {', '.join(KINDS)}")
    rows = rows[rows["score"].notna()].sort_values("path")
    num_real, num_fake = int((rows["label"] == 0).sum()), int((rows["label"] == 1).sum())
    if not num_real or not num_fake:
        raise InputError(f"calibration needs validation rows of both classes; found {num_real} real, {num_fake} fake")
    fitted_on = {
        "view": str(rows["view"].iloc[0]),
        "num_real": num_real,
        "num_fake": num_fake,
        "num_groups": num_clusters(rows),
        "generators": sorted(set(rows.loc[rows["label"] == 1, "generator"])),
        "sources": sorted(set(rows.loc[rows["label"] == 0, "source"]) - {""}) if "source" in rows else [],
    }
    if "model" in rows:
        fitted_on["models"] = sorted(set(rows["model"]) - {""})
    scores, labels = rows["score"].to_numpy(), rows["label"].to_numpy()
    if kind == "isotonic":
        return Calibrator(kind, _fit_isotonic(scores, labels), fitted_on)
    features, slopes = _FEATURES[kind]
    return Calibrator(kind, {"weights": fit_logistic(features(scores), labels, slopes).tolist()}, fitted_on)


def _temperature(scores: Floats) -> Floats:
    """Return the logit, (N, 1); its weight is 1 / temperature (Guo et al. 2017)."""
    return np.asarray(logit(np.clip(scores, EPS, 1 - EPS))[:, None])


def _platt(scores: Floats) -> Floats:
    """Return the logit and 1, (N, 2), for a slope and an offset (Platt 1999)."""
    return np.column_stack([_temperature(scores), np.ones(len(scores))])


def _beta(scores: Floats) -> Floats:
    """Return the halves of the logit, ln s and -ln(1 - s), and 1, (N, 3) (Kull et al. 2017)."""
    scores = np.clip(scores, EPS, 1 - EPS)
    return np.column_stack([np.log(scores), -np.log1p(-scores), np.ones(len(scores))])


# The features of logistic regression, and how many of their weights are slopes, which are not negative.
_FEATURES: dict[str, tuple[Callable[[Floats], Floats], int]] = {
    "temperature": (_temperature, 1),
    "platt": (_platt, 1),
    "beta": (_beta, 2),
}
KINDS = (*_FEATURES, "isotonic")


def _fit_isotonic(scores: Floats, labels: Floats) -> Parameters:
    """Fit the best step function, interpolated between the validation scores (Zadrozny and Elkan 2002)."""
    knots, index, num = np.unique(scores, return_inverse=True, return_counts=True)
    share = np.bincount(index, labels) / num
    return {"scores": knots.tolist(), "shares": isotonic_regression(share, num).tolist()}
