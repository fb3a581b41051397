"""Score images by a network whose channels come from a given source, as of another VAE or other settings."""

from collections.abc import Sequence

import pandas as pd

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.base.samples import judged
from aigid.detectors.base.scoring import attributed_frame
from aigid.detectors.cnn.detector import scored
from aigid.detectors.cnn.samples import Source


def score(model: Model, source: Source, manifest: pd.DataFrame, views: Sequence[str]) -> pd.DataFrame:
    """Return one row for each val and test image and view; an unreadable image has a status and no score."""
    if source.fingerprints != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")
    rows, parts = judged(manifest), []
    for view in views:
        status, values = scored(model.detector, source, rows, view)
        parts.append(attributed_frame(rows, view, values, model.detector.classes, status))
    return pd.concat(parts, ignore_index=True)
