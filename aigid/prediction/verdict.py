"""From a score to what is said of an image: a probability where there is one, a verdict, and why not a bolder one."""

from dataclasses import dataclass
from typing import Any

from aigid.detectors.base.models import Model
from aigid.evaluation.conformal import GENERATED, REAL, UNCERTAIN
from aigid.evaluation.deployment import Deployment, EvaluationSettings, deploy

PLAIN = 0.5  # the threshold of a detector without validation images
BETWEEN = "the score lies where either class is likely"


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


def deployment_of(model: Model, settings: EvaluationSettings) -> Deployment | None:
    """What a bundle's validation images lead to, as `aigid evaluate` does it; None without both classes of them."""
    rows = model.validation
    if rows is None:
        return None
    rows = rows[rows["score"].notna()]
    return deploy(rows, settings) if set(rows["label"]) == {0, 1} else None


def decide(score: float, deployment: Deployment | None, cautions: tuple[str, ...] = ()) -> Verdict:
    """The verdict on one score; ``cautions`` are what makes any verdict unsafe.

    ``generated`` lies above the operating threshold and where a fake alone is likely, ``real`` below it and where a
    photograph alone is; all else is uncertain.
    """
    if deployment is None:
        plain = GENERATED if score > PLAIN else REAL
        return Verdict(UNCERTAIN if cautions else plain, None, PLAIN, False, cautions)
    threshold = deployment.operating_point.threshold
    likely = str(deployment.abstainer.verdicts([score])[0])
    firm = likely == (GENERATED if score > threshold else REAL)
    reasons = cautions if firm else (*cautions, BETWEEN)
    probability = float(deployment.calibrator([score])[0])
    return Verdict(UNCERTAIN if reasons else likely, probability, threshold, True, reasons)


def terms(deployment: Deployment | None, settings: EvaluationSettings) -> dict[str, Any]:
    """On what terms verdicts stand: the operating point, its measured error and the images that all of it holds for."""
    if deployment is None:
        return {"calibrated": False, "threshold": PLAIN}
    point, band = deployment.operating_point, deployment.abstainer
    return {
        "calibrated": True,
        "threshold": point.threshold,
        "target_fpr": settings.fpr,
        "fpr_val": point.fpr,
        "fpr_bound": point.fpr_bound,
        "tpr_val": point.tpr,
        "uncertain_between": sorted([band.lowest_fake, band.highest_real]),
        "alpha": band.alpha,
        "population": deployment.calibrator.population,
    }


def limits(model: Model, deployment: Deployment | None) -> list[str]:
    """What a bundle does not know, a line each."""
    lines = []
    if model.origin.demonstration:
        lines.append("a demonstration: it shows the machinery and is not for judging photographs")
    if deployment is None:
        lines.append(f"calibrated: false: no validation images; verdicts cut the plain score at {PLAIN}")
    images = model.origin.training.get("images", {}).get("train", {})
    if known := ", ".join(sorted(set(images) - {"real"})):
        lines.append(f"learnt from {known} alone: of other generators it knows nothing")
    return lines
