"""The last step of a prediction: from scores to a verdict and its reasons; as JSON, as a scores file, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from aigid.core import escape
from aigid.core.embeddings import OK
from aigid.detectors.bundle import Bundle
from aigid.metrics.decisions import GENERATED, REAL, UNCERTAIN, DecisionRule, EvaluationSettings, fit_decision_rule
from aigid.prediction.inputs import MANIFEST_COLUMNS

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


@dataclass(frozen=True)
class Prediction:
    """One image and one bundle; of an image that cannot be read, ``status`` and ``error`` alone.

    ``score`` is the detector's P(generated) as the pipeline has it, ``probability`` the calibrated one, ``scores`` that
    of each view. ``warnings`` make any verdict unsafe. ``occlusion_map`` (8, 8) says by how much the score falls where
    a cell is covered. ``details``: ``detector``, ``model``, ``calibrated``, ``reasons`` for uncertainty,
    ``note`` on the reading, ``classes`` (probability by generator), ``predicted`` (the class decided for),
    ``stability`` (score of each delivery, spread, flips) and ``embedded_metadata``, which no score has seen.
    """

    path: str
    status: str = OK
    error: str = ""
    score: float | None = None
    probability: float | None = None
    verdict: str | None = None
    threshold: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    occlusion_map: NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def uncertain(self) -> bool:
        return self.verdict == UNCERTAIN

    def to_json(self) -> dict[str, Any]:
        """Return a flat JSON object; what is not known is left out."""
        if not self.ok:
            return {"path": self.path, "status": self.status, "error": self.error, **self.details}
        fields = {"path": self.path, "status": self.status, "score": self.score, "probability": self.probability}
        fields |= {"verdict": self.verdict, "uncertain": self.uncertain, "threshold": self.threshold, **self.details}
        return {name: value for name, value in fields.items() if value is not None}


FIRST_COLUMNS = ("path", "label", "generator", "split", "view", "score")
STYLES = {"real": "green", "generated": "red", "uncertain": "yellow"}


def scores_file(images: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Return a scores file's rows, one an image and view; an image of unknown class has no label.

    Where no split is known it is ``test``; ``probability`` and ``verdict`` stand beside the score.
    """
    rows = []
    for known, prediction in zip(images.to_dict("records"), predictions, strict=True):
        row = {"path": prediction.path} | {name: known.get(name, "") for name in MANIFEST_COLUMNS}
        row |= {"split": row["split"] or "test", "status": prediction.status, "view": "clean"}
        row |= {name: getattr(prediction, name) for name in ("score", "probability", "verdict")}
        row |= {"model": prediction.details["model"]}
        classes = prediction.details.get("classes", {})
        row |= {"predicted": prediction.details["predicted"]} if classes else {}
        rows.append(row | {f"class_{name}": share for name, share in classes.items()})
        for view, score in prediction.details.get("stability", {}).get("scores", {}).items():
            if view != "clean":
                rows.append(row | {"view": view, "score": score, "probability": None, "verdict": None})
    table = pd.DataFrame(rows)
    return table[[*FIRST_COLUMNS, *(column for column in table if column not in FIRST_COLUMNS)]]


def table(rows: Sequence[Sequence[Prediction]], names: Sequence[str]) -> Table:
    """Return what a person reads: a line for each image and bundle."""
    result = Table("image", *(["model"] if len(names) > 1 else []), "verdict", "P(generated)", "score", "remarks")
    for predictions in rows:
        for name, prediction in zip(names, predictions, strict=True):
            cells = [prediction.path, *([name] if len(names) > 1 else []), *_cells(prediction)]
            result.add_row(*map(_text, cells))
    return result


def _text(cell: str) -> Text:
    """Return it as it stands: names may hold Rich's markup, bytes that are no UTF-8, and what moves the cursor."""
    return Text(escape.terminal(cell), STYLES.get(cell, ""))


def _cells(prediction: Prediction) -> list[str]:
    if not prediction.ok:
        return ["-", "", "", f"{prediction.status}: {prediction.error}"]
    probability = "uncalibrated" if prediction.probability is None else f"{prediction.probability:.1%}"
    remarks = list(prediction.details["reasons"])
    if note := prediction.details.get("note"):
        remarks.append(note)
    if predicted := prediction.details.get("predicted"):
        remarks.append(f"most like {predicted}")
    if stability := prediction.details.get("stability"):
        remarks.append(f"spread {stability['spread']:.2f} over deliveries")
    if metadata := prediction.details.get("embedded_metadata"):
        remarks.append(f"says of itself: {metadata['summary']}")
    return [str(prediction.verdict), probability, f"{prediction.score:.3f}", "; ".join(remarks)]
