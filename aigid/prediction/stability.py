"""Does a verdict survive delivery? The score of an image as messengers and web sites would pass it on."""

from statistics import fmean
from typing import TYPE_CHECKING, Any

from aigid.prediction.verdict import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from aigid.prediction.predict import Predictor


DELIVERY_VIEWS = (
    "jpeg90",
    "jpeg70",
    "jpeg50",
    "crop90",
    "blur5x5_1",
)  # JPEG thrice, a centre crop of 90 %, a slight blur


def score_stability(scores: dict[str, float], bundle: "Predictor") -> dict[str, Any]:
    """The scores by view, their mean and spread, and the views whose score lies beyond the threshold from ``clean``."""
    threshold = bundle.deployment.operating_point.threshold if bundle.deployment else DEFAULT_THRESHOLD
    side = scores["clean"] > threshold
    values = list(scores.values())
    return {
        "scores": scores,
        "mean": fmean(values),
        "spread": max(values) - min(values),
        "flips": [view for view, score in scores.items() if (score > threshold) != side],
    }


def stability_warnings(found: dict[str, Any]) -> tuple[str, ...]:
    """A line where the verdict flips."""
    return (f"the verdict flips under {', '.join(found['flips'])}",) if found["flips"] else ()
