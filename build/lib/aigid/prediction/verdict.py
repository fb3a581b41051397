"""The last step of a prediction: from scores to a probability, a verdict and the reasons for uncertainty."""

from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from aigid.detectors.bundle import Bundle
from aigid.metrics.decisions import GENERATED, REAL, UNCERTAIN, DecisionRule, EvaluationSettings, fit_decision_rule

DEFAULT_THRESHOLD = 0.5  # the threshold of a detector without validation images
MAX_NAMED = 8  # generators in a line
DELIVERY_VIEWS = (  # what messengers and web sites do
    *("jpeg90", "jpeg70", "jpeg50", "crop90", "blur5x5_1"),
    *("resize50", "up50", "fit512", "letterbox", "repost", "chain3"),
)
UNCERTAIN_REASON = "the score lies where either class is likely"


@dataclass(frozen=True)
class Verdict:
    """``real``, ``generated`` or ``uncertain``; ``reasons`` say why the last.

    ``probability`` is the calibrated P(generated), None where ``calibrated`` is false. ``threshold`` cuts the score:
    above it lies ``generated``.
    """

    verdict: str
    probability: float | None
    threshold: float
    calibrated: bool
    reasons: tuple[str, ...] = ()


def decision_rule_for(model: Bundle, settings: EvaluationSettings) -> DecisionRule | None:
    """Return the rule fitted on a bundle's validation images, as `aigid evaluate` does; None without both classes."""
    rows = model.validation
    if rows is None:
        return None
    rows = rows[rows["score"].notna()]
    return fit_decision_rule(rows, settings) if set(rows["label"]) == {0, 1} else None


def decide(score: float, rule: DecisionRule | None, warnings: tuple[str, ...] = ()) -> Verdict:
    """Return the verdict on one score; ``warnings`` are what makes any verdict unsafe.

    ``generated`` lies above the operating threshold, where a fake alone is likely and P(generated) is above 1/2;
    ``real`` below it, where a real image alone is and P(generated) is at most 1/2; all else is uncertain.
    """
    assert isfinite(score), score
    if rule is None:
        side = GENERATED if score > DEFAULT_THRESHOLD else REAL
        return Verdict(UNCERTAIN if warnings else side, None, DEFAULT_THRESHOLD, False, warnings)
    threshold = rule.operating_point.threshold
    likely = str(rule.abstainer.labels([score])[0])
    probability = float(rule.calibrator([score])[0])
    sides = {GENERATED if above else REAL for above in (score > threshold, probability > 0.5)}
    reasons = warnings if sides == {likely} else (*warnings, UNCERTAIN_REASON)
    return Verdict(UNCERTAIN if reasons else likely, probability, threshold, True, reasons)


def operating_point(rule: DecisionRule | None, settings: EvaluationSettings) -> dict[str, Any]:
    """Return the threshold, its measured error and the images that all of it holds for."""
    if rule is None:
        return {"calibrated": False, "threshold": DEFAULT_THRESHOLD}
    point, abstainer = rule.operating_point, rule.abstainer
    return {
        "calibrated": True,
        "threshold": point.threshold,
        "target_fpr": settings.fpr,
        "fpr_val": point.fpr,
        "fpr_bound": point.fpr_bound,
        "tpr_val": point.tpr,
        "uncertain_between": sorted([abstainer.lowest_fake, abstainer.highest_real]),
        "alpha": abstainer.alpha,
        "population": rule.calibrator.population,
    }


def limitations(model: Bundle, rule: DecisionRule | None) -> list[str]:
    """Return what a bundle does not know, a line each."""
    lines = []
    if model.origin.demonstration:
        lines.append("a demonstration of the pipeline: its verdicts on real images mean nothing")
    if rule is None:
        lines.append(f"calibrated: false: no validation images; verdicts cut the plain score at {DEFAULT_THRESHOLD}")
    images = model.origin.training.get("images", {}).get("train", {})
    known = sorted(set(images) - {"real"})
    if len(known) > MAX_NAMED:
        lines.append(f"trained on images of {len(known)} generators alone, which its model.json names")
    elif known:
        lines.append(f"trained on images of {', '.join(known)} alone: how it does on other generators is not known")
    return lines


def score_stability(scores: dict[str, float], rule: DecisionRule | None) -> dict[str, Any]:
    """Return the scores by view, their mean and spread, and the views that lie beyond the threshold from ``clean``."""
    threshold = rule.operating_point.threshold if rule else DEFAULT_THRESHOLD
    generated = scores["clean"] > threshold
    return {
        "scores": scores,
        "mean": fmean(scores.values()),
        "spread": max(scores.values()) - min(scores.values()),
        "flips": [view for view, score in scores.items() if (score > threshold) != generated],
    }


def stability_warnings(stability: dict[str, Any]) -> tuple[str, ...]:
    """Return a line where the verdict flips."""
    return (f"the verdict flips under {', '.join(stability['flips'])}",) if stability["flips"] else ()
