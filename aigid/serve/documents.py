"""What the service gives: models and images as JSON, and the page, with the policy under which browsers show it."""

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from aigid.core.bundle_files import METADATA
from aigid.core.escape import source_hash
from aigid.core.files import sha256
from aigid.metrics.decisions import DecisionRule
from aigid.prediction import EXPORTED
from aigid.prediction.inspection import InspectedImage
from aigid.prediction.predict import Predictor
from aigid.prediction.verdict import Prediction

VERSION = version("aigid")
PROVENANCE_NOTE = "anybody can write or strip it: no score has seen it, and that nothing is there proves nothing"


def bands(rule: DecisionRule) -> dict[str, float]:
    """Return the probabilities up to which the verdict is ``real`` and above which it is ``generated``."""
    threshold, abstainer = rule.operating_point.threshold, rule.abstainer
    zone = sorted((abstainer.highest_real, abstainer.lowest_fake))
    low, point, high = (float(value) for value in rule.calibrator([zone[0], threshold, zone[1]]))
    return {"real_below": min(low, point, 0.5), "threshold": point, "generated_above": max(high, point, 0.5)}


def model(name: str, predictor: Predictor) -> dict[str, Any]:
    """Return what a model is, knows and does not know."""
    card, origin = predictor.folder.parent / f"{predictor.folder.name}.md", predictor.model.origin
    document = {
        "name": name,
        "model": predictor.model.identity,
        "version": VERSION,
        "bundle_sha256": bundle_sha256(predictor),
        "detector": predictor.model.name,
        "demonstration": origin.demonstration,
        "operating_point": predictor.operating_point,
        "training_images": origin.training.get("images", {}).get("train", {}),
        "cautions": cautions(predictor),
        "licences": origin.licences,
        "card": card.read_text(encoding="utf-8") if card.is_file() else "",
    }
    return document | ({"bands": bands(predictor.rule)} if predictor.rule else {})


def bundle_sha256(predictor: Predictor) -> str:
    """Return the sha256 that a bundle's ``model.json`` has of itself, and with it of all its files; of one file its."""
    if predictor.folder.suffix == EXPORTED:
        return sha256(predictor.folder)
    digest: str = json.loads((predictor.folder / METADATA).read_text(encoding="utf-8"))["sha256"]
    return digest


def cautions(predictor: Predictor) -> list[str]:
    """Return what to bear in mind with any verdict of a model."""
    point = predictor.operating_point
    lines = list(predictor.limitations)
    if point["calibrated"]:
        lines.append(
            f"{point['fpr_val']:.1%} of its real validation images were called generated (at most"
            f" {point['fpr_bound']:.0%} of others like them)"
        )
    return [*lines, "one image is no evidence by itself"]


def verdicts(
    image: InspectedImage, predictions: Mapping[str, Prediction], models: Mapping[str, Mapping[str, Any]], ms: float
) -> list[dict[str, Any]]:
    """Return a document for each model: that of `aigid predict --json`, and who says it of what."""
    return [_verdict(image, prediction, models[name], ms) for name, prediction in predictions.items()]


def _verdict(image: InspectedImage, prediction: Prediction, model: Mapping[str, Any], ms: float) -> dict[str, Any]:
    document = prediction.to_json() | {name: model[name] for name in ("version", "bundle_sha256")}
    document |= {"image_sha256": image.sha256, "latency_ms": round(ms, 1)}
    if prediction.ok:
        document |= {"provenance": image.metadata | {"note": PROVENANCE_NOTE}, "cautions": model["cautions"]}
    if image.size:
        document |= dict(zip(("width", "height"), image.size, strict=True))
    if (drops := prediction.occlusion_map) is not None:
        document["occlusion_map"] = np.round(drops, 5).tolist()
    return document


HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    return " ".join(map(source_hash, re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)))


POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
