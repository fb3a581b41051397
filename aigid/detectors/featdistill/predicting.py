"""FeatDistill on images from anywhere: the experts lie in the bundle, their embeddings in the row cache."""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.detectors.base.models import Model
from aigid.detectors.featdistill import scoring
from aigid.features.extract import Towers


class Predictor:
    """P(generated) of images in a view."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.detector, self.seed, self.loader = model.detector, model.origin.seed, Towers()

    def __call__(self, images: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Status (N,) and scores (N,), NaN where an image cannot be read."""
        said = scoring.say(self.detector, images, Path(), [view], self.seed, self.loader)
        return said.status, said.scores[view][scoring.ENSEMBLE]
