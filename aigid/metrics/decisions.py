"""Decision rules fitted on validation images: calibration, a threshold for a target FPR, conformal abstention."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from aigid.core import params
from aigid.core.errors import InputError, parse_json
from aigid.core.files import write_json
from aigid.core.special import beta_quantile
from aigid.metrics import CalibratorKind, Period, calibration, classification, intervals, resampling
from aigid.metrics.calibration import Calibrator
from aigid.metrics.classification import (
    ANY,
    FAKES,
    REALS,
    Array,
    Floats,
    MetricValues,
    Ranking,
    missing_reason,
    rank_rows,
)

REAL, UNCERTAIN, GENERATED = "real", "uncertain", "generated"
ABSTENTION = [f"{what}_{side}" for what in ("coverage", "wrong", "uncertain") for side in ("real", "fake")]
JSON_KEYS = (
    *("operating_threshold", "operating_fpr_val", "operating_fpr_bound", "operating_fpr", "operating_tpr"),
    *("ece_calibrated", "brier_calibrated", "nll_calibrated", "acc_calibrated"),
    *(f"conformal_{name}" for name in ABSTENTION),
)


class EvaluationSettings(params.Settings):
    """The calibrator, the target false positive rate, the error rate of abstention, and the batches over time."""

    calibrator: CalibratorKind = "platt"
    fpr: Annotated[float, Field(ge=0, lt=1)] = 0.05
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    period: Period | None = None  # of extra_date; None: each as written


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for a target FPR: the FPR on the ``num_real`` reals that chose it, and its upper bound."""

    threshold: float
    fpr: float
    fpr_bound: float
    tpr: float
    num_real: int


def operating_point(ranking: Ranking, fpr: float, level: float = 0.95, groups: Array | None = None) -> OperatingPoint:
    """Return the lowest threshold whose FPR on these validation images is at most ``fpr``, with its confidence bound.

    The true FPR above the (k + 1)-th highest of n reals is Beta(k + 1, n - k) distributed; ``fpr_bound`` is its
    quantile at ``level``, the one-sided bound of Clopper and Pearson (1934). Reals of one of the ``groups`` (n,), in
    the order of ``ranking.reals``, count as few as they are independent.
    """
    threshold = classification.threshold_at_fpr(ranking, fpr)
    positive = ranking.reals > threshold
    share, num = float(positive.mean()), intervals.effective_sample_size(positive, groups)
    bound = beta_quantile(share * num + 1, num * (1 - share), level) if share < 1 else 1.0
    return OperatingPoint(threshold, share, bound, classification.fake_accuracy(ranking, threshold), len(positive))


@dataclass(frozen=True)
class ConformalAbstainer:
    """Real is possible up to ``highest_real``, generated from ``lowest_fake`` on; each misses a share ``alpha``."""

    highest_real: float  # the fields' names are JSON keys
    lowest_fake: float
    alpha: float

    def prediction_sets(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Return which classes each score allows, (N, 2): real, generated."""
        scores = np.asarray(scores, np.float64)
        return np.stack([scores <= self.highest_real, scores >= self.lowest_fake], axis=1)

    def labels(self, scores: ArrayLike) -> NDArray[np.str_]:
        """Return ``real`` or ``generated`` where that class alone is possible, else ``uncertain``, (N,)."""
        real, fake = self.prediction_sets(scores).T
        return np.where(real == fake, UNCERTAIN, np.where(real, REAL, GENERATED))


def abstainer(ranking: Ranking, alpha: float) -> ConformalAbstainer:
    """Fit split-conformal abstention on validation images, class by class (Vovk 2012, label-conditional).

    Of new images like these, at least a share 1 - ``alpha`` of each class keeps its class possible, so that at most
    ``alpha`` of the reals are called generated and as many fakes real. A class of fewer than 1 / alpha - 1 images is
    always possible.
    """
    return ConformalAbstainer(_quantile(ranking.reals, alpha, 1.0), -_quantile(-ranking.fakes[::-1], alpha, 0.0), alpha)


def _quantile(nonconformity: Floats, alpha: float, maximum: float) -> float:
    """Return the ceil((n + 1)(1 - alpha))-th smallest of ascending values (n,), or ``maximum`` beyond them."""
    index = int(np.ceil((len(nonconformity) + 1) * (1 - alpha) - 1e-9))
    return float(nonconformity[index - 1]) if index <= len(nonconformity) else maximum


def coverage(abstainer: ConformalAbstainer, ranking: Ranking) -> dict[str, float]:
    """Return, per class of the test images, how often it stays possible, is called wrongly, and is left uncertain."""
    shares = {}
    for column, (name, scores) in enumerate((("real", ranking.reals), ("fake", ranking.fakes))):
        if len(scores):
            possible = abstainer.prediction_sets(scores)
            shares[f"coverage_{name}"] = float(possible[:, column].mean())
            shares[f"wrong_{name}"] = float(np.mean(possible[:, 1 - column] & ~possible[:, column]))
            shares[f"uncertain_{name}"] = float(np.mean(possible[:, 0] == possible[:, 1]))
    return shares


@dataclass(frozen=True)
class DecisionRule:
    """What holds for images like those of ``calibrator.population``; only the calibrator changes the scores."""

    calibrator: Calibrator
    operating_point: OperatingPoint
    abstainer: ConformalAbstainer

    def calibrated(self, ranking: Ranking) -> Ranking:
        """Return the ranking of the calibrated scores."""
        return Ranking(np.sort(self.calibrator(ranking.reals)), np.sort(self.calibrator(ranking.fakes)))


def fit_decision_rule(validation: pd.DataFrame, settings: EvaluationSettings) -> DecisionRule:
    """Fit on checked validation rows of one view; InputError where a class is missing."""
    calibrator, ranking = calibration.fit(settings.calibrator, validation), rank_rows(validation)
    groups = None
    if "group" in validation:
        reals = validation[(validation["label"] == 0) & validation["score"].notna()]
        groups = resampling.group_codes(reals.sort_values(["score", "group"]))
    point = operating_point(ranking, settings.fpr, groups=groups)
    return DecisionRule(calibrator, point, abstainer(ranking, settings.alpha))


def deployment_metrics(rule: DecisionRule, ranking: Ranking) -> MetricValues:
    """Return ``JSON_KEYS`` of a rule on test images: each a number, or why there is none."""
    after, point = rule.calibrated(ranking), rule.operating_point
    metrics: dict[str, tuple[Callable[[], float], tuple[str, ...]]] = {
        "operating_fpr": (lambda: 1 - classification.real_accuracy(ranking, point.threshold), REALS),
        "operating_tpr": (lambda: classification.fake_accuracy(ranking, point.threshold), FAKES),
        "ece_calibrated": (lambda: calibration.expected_calibration_error(after), ANY),
        "brier_calibrated": (lambda: calibration.brier(after), ANY),
        "nll_calibrated": (lambda: calibration.log_loss(after), ANY),
        "acc_calibrated": (lambda: classification.accuracy(after, 0.5), ANY),
    }
    covered = coverage(rule.abstainer, ranking)
    return {
        "operating_threshold": point.threshold,
        "operating_fpr_val": point.fpr,
        "operating_fpr_bound": point.fpr_bound,
        **{name: missing_reason(ranking, classes) or metric() for name, (metric, classes) in metrics.items()},
        **{f"conformal_{name}": covered.get(name, f"no readable test {name[-4:]}s") for name in ABSTENTION},
    }


def save(rule: DecisionRule, path: Path | str) -> None:
    """Write ``rule`` as JSON, atomically."""
    write_json(path, asdict(rule))


def load(path: Path | str) -> DecisionRule:
    """Read what ``save`` wrote; InputError where it is nothing of the kind."""
    try:
        fields = parse_json(Path(path).read_text(encoding="utf-8"))
        kinds = {"calibrator": Calibrator, "operating_point": OperatingPoint, "abstainer": ConformalAbstainer}
        rule = DecisionRule(**{name: kind(**fields[name]) for name, kind in kinds.items()})
        numbers = [asdict(rule.operating_point), asdict(rule.abstainer), rule.calibrator.parameters]
        if not all(np.isfinite(value).all() for part in numbers for value in part.values()):
            raise ValueError("a number of it is NaN or infinite")
        rule.calibrator([0.0, 1.0])
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(f"{path}: not a calibrator: {error}") from None
    return rule


def flip_rates(test: pd.DataFrame, threshold: float) -> MetricValues:
    """Return how often and how far the scores of an image change between its views, where it has two or more.

    ``flip_rate`` is the share of images called generated in some views and real in others, ``flip_rate_real`` and
    ``flip_rate_fake`` the same per class, ``score_spread`` the mean distance from an image's lowest score to its
    highest. A reason stands where there is no such image.
    """
    by_image = test[test["score"].notna()].groupby("path")
    images = by_image.agg(label=("label", "first"), low=("score", "min"), high=("score", "max"), num=("score", "size"))
    images = images[images["num"] > 1]
    flips = (images["low"] <= threshold) & (images["high"] > threshold)
    values = {
        "flip_rate": flips,
        "flip_rate_real": flips[images["label"] == 0],
        "flip_rate_fake": flips[images["label"] == 1],
        "score_spread": (images["high"] - images["low"]).sort_values(),
    }
    return {name: float(part.mean()) if len(part) else "no such image in two views" for name, part in values.items()}
