"""A fitted detector of embeddings on images that no embedding file holds: extracted through the row cache."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aigid import store
from aigid.detectors.models import Model
from aigid.errors import InputError
from aigid.features.backbones import BackboneSettings, JointSettings


def predictor(
    model: Model,
    images: pd.DataFrame,
    root: Path,
    backbone: BackboneSettings | JointSettings,
    views: Sequence[str],
    seed: int,
) -> tuple[list[str], Callable[[str], tuple[np.ndarray, np.ndarray]]]:
    """The classes, and a function from a view to probabilities (n, K) of the readable images and every status."""
    from aigid.features.extract import extract

    extraction = extract(images, root, backbone, views, seed)
    if extraction.attributes["fingerprint"] != model.fingerprints:
        raise InputError(f"{model.name}: trained on another backbone, weights or preprocessing than this one")
    status, rows = np.array(extraction.status), extraction.views

    def predict(view: str) -> tuple[np.ndarray, np.ndarray]:
        return model.detector.probabilities(rows[view][status == store.OK].astype(np.float32)), status

    return model.detector.classes, predict
