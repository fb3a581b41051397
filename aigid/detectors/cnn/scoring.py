"""From a fitted network and a dataset's images to the scores file's rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aigid import store
from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.base.scoring import attributed_frame, judged
from aigid.detectors.cnn.detector import Cnn
from aigid.detectors.cnn.samples import Source


def score(model: Model, source: Source, manifest: pd.DataFrame, views: Sequence[str]) -> pd.DataFrame:
    """One row for each val and test image and view; an unreadable image has a status and no score."""
    if source.fingerprints != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")
    return pd.concat([_score_view(model.detector, source, judged(manifest), view) for view in views], ignore_index=True)


def validate(detector: Cnn, source: Source, manifest: pd.DataFrame) -> pd.DataFrame:
    """The clean validation images' rows, for the bundle."""
    return _score_view(detector, source, manifest[manifest["split"] == "val"], "clean")


def probabilities(detector: Cnn, source: Source, rows: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Status (N,) and probabilities (N, K), NaN where an image cannot be read."""
    samples, status = source.samples(rows, np.zeros(len(rows), np.int64), view)
    found = np.full((len(rows), len(detector.classes)), np.nan)
    if len(samples):
        found[status == store.OK] = detector.probabilities(samples)
    return status, found


def _score_view(detector: Cnn, source: Source, rows: pd.DataFrame, view: str) -> pd.DataFrame:
    status, found = probabilities(detector, source, rows, view)
    return attributed_frame(rows, view, found, detector.classes, status)
