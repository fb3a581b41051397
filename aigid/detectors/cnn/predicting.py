"""The network in a bundle on images from anywhere."""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.cnn.samples import Source
from aigid.detectors.cnn.scoring import probabilities


class Predictor:
    """Class probabilities of images in a view; the VAE lies in the bundle, and is loaded once."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.detector = model.detector
        self.source = Source(model.detector.settings, folder / "vae", Path(), model.origin.seed)
        if self.source.fingerprints != model.fingerprints:
            raise InputError(f"{folder}: trained on the channels of another VAE or version of this code")

    def __call__(self, images: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Status (N,) and probabilities (N, K), NaN where an image cannot be read."""
        return probabilities(self.detector, self.source, images, view)
