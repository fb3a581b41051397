"""SEF in a bundle on images from anywhere: its experts lie in the bundle, their features in the row cache."""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.sef.embedding import embed
from aigid.features.extract import Towers
from aigid.store import OK


class Predictor:
    """P(generated) of images in a view."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder, self._loader = model, folder, Towers()

    def __call__(self, images: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Status (N,) and scores (N,), NaN where an image cannot be read."""
        detector = self.model.detector
        seed = self.model.origin.seed
        made = embed(detector.settings.expert, detector.paths, images, Path(), [view], seed, self._loader)
        if made.attributes["fingerprint"] != self.model.fingerprints:
            raise InputError(f"{self.folder}: its base has other weights here than it was trained on")
        status, found = np.array(made.status), np.full(len(images), np.nan)
        if (good := status == OK).any():
            found[good] = detector.score(made.views[view][good])
        return status, found
