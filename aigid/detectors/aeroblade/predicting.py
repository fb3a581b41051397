"""The detector in a bundle on images from anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.detectors.aeroblade.measure import Measure
from aigid.detectors.base.models import Model


class Predictor:
    """P(generated) of images in a view; the autoencoders lie in the bundle, each in a folder."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.detector = model.detector
        vaes = sorted(path for path in folder.iterdir() if path.is_dir())
        self.measure = Measure(model.detector.distance, model.settings["size"], vaes, model.origin.seed)

    def __call__(self, images: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Status (N,) and scores (N,), NaN where an image cannot be read."""
        found, status = self.measure.closeness(images, Path(), view)
        return status, self.detector.score(found)
