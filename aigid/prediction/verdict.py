"""From a score to what is said of an image: a probability where there is one, a verdict, and why not a bolder one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aigid.detectors.bundle import Bundle
from aigid.metrics.decisions import GENERATED, REAL, UNCERTAIN, DecisionRule, EvaluationSettings, fit_decision_rule

DEFAULT_THRESHOLD = 0.5  # the threshold of a detector without validation images
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
    """What a bundle's validation images lead to, as `aigid evaluate` does it; None without both classes of them."""
    rows = model.validation
    if rows is None:
        return None
    rows = rows[rows["score"].notna()]
    return fit_decision_rule(rows, settings) if set(rows["label"]) == {0, 1} else None


def decide(score: float, deployment: DecisionRule | None, cautions: tuple[str, ...] = ()) -> Verdict:
    """The verdict on one score; ``cautions`` are what makes any verdict unsafe.

    ``generated`` lies above the operating threshold and where a fake alone is likely, ``real`` below it and where a
    photograph alone is; all else is uncertain.
    """
    if deployment is None:
        plain = GENERATED if score > DEFAULT_THRESHOLD else REAL
        return Verdict(UNCERTAIN if cautions else plain, None, DEFAULT_THRESHOLD, False, cautions)
    threshold = deployment.operating_point.threshold
    likely = str(deployment.abstainer.labels([score])[0])
    firm = likely == (GENERATED if score > threshold else REAL)
    reasons = cautions if firm else (*cautions, UNCERTAIN_REASON)
    probability = float(deployment.calibrator([score])[0])
    return Verdict(UNCERTAIN if reasons else likely, probability, threshold, True, reasons)


def operating_point(deployment: DecisionRule | None, settings: EvaluationSettings) -> dict[str, Any]:
    """On what terms verdicts stand: the operating point, its measured error and the images that all of it holds for."""
    if deployment is None:
        return {"calibrated": False, "threshold": DEFAULT_THRESHOLD}
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


def limitations(model: Bundle, deployment: DecisionRule | None) -> list[str]:
    """What a bundle does not know, a line each."""
    lines = []
    if model.origin.demonstration:
        lines.append("a demonstration: it shows the machinery and is not for judging photographs")
    if deployment is None:
        lines.append(f"calibrated: false: no validation images; verdicts cut the plain score at {DEFAULT_THRESHOLD}")
    images = model.origin.training.get("images", {}).get("train", {})
    if known := ", ".join(sorted(set(images) - {"real"})):
        lines.append(f"learnt from {known} alone: of other generators it knows nothing")
    return lines


# What makes any verdict unsafe, seen in the image alone: too few pixels, or a screenshot in place of a photograph.

MIN_PIXELS = 32  # of the shorter side
SAMPLED_ROWS = 32  # of an image that are looked at, evenly spaced
MAX_FLAT_SHARE = 0.5  # share of pixels equal to both neighbours, above which an image looks drawn by a screen


def pixel_warnings(image: np.ndarray) -> tuple[str, ...]:
    """Of an image (H, W, 3) uint8, a line for each caution."""
    height, width = image.shape[:2]
    found = []
    if min(height, width) < MIN_PIXELS:
        found.append(f"{width} x {height} pixels: too small to say")
    elif (share := flat_pixel_share(image)) > MAX_FLAT_SHARE:
        found.append(f"{share:.0%} of it is flat, as in a screenshot or a drawing: not what detectors learn from")
    return tuple(found)


def flat_pixel_share(image: np.ndarray) -> float:
    """Share of pixels that equal their right and their lower neighbour in all channels, on at most ``ROWS`` rows."""
    rows = np.arange(0, len(image) - 1, -(-len(image) // SAMPLED_ROWS))
    here, below = _pack_rgb(image[rows]), _pack_rgb(image[rows + 1])
    same = (here[:, :-1] == here[:, 1:]) & (here[:, :-1] == below[:, :-1])
    return float(np.mean(same)) if same.size else 0.0


def _pack_rgb(image: np.ndarray) -> np.ndarray:
    return image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
