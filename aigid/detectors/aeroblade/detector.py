"""The detector: P(generated) by Platt's sigmoid on validation's closeness."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.torch import load_file, save_file
from scipy.special import expit

from aigid.base.errors import InputError
from aigid.detectors.aeroblade.distance import Perceptual, restored
from aigid.detectors.aeroblade.settings import AerobladeSettings
from aigid.detectors.svm.fitting import platt

FILE = "distance.safetensors"


class Aeroblade:
    """Nothing is trained but the two numbers of a sigmoid; its slope is not negative: what comes back is generated."""

    Settings = AerobladeSettings

    def __init__(self, slope: float, offset: float, distance: Perceptual) -> None:
        self.slope, self.offset, self.distance = slope, offset, distance

    @classmethod
    def fit(cls, found: np.ndarray, labels: np.ndarray, distance: Perceptual) -> Self:
        """From the closeness (N,) of validation images by a distance, and labels (N,); NaN is left out."""
        good = ~np.isnan(found)
        if len(set(labels[good].tolist())) < 2:
            raise InputError("aeroblade: split val: reals and generated images are both needed to calibrate")
        slopes, offsets = platt(found[good][:, None], 1 - labels[good], 2)
        return cls(float(slopes[0]), float(offsets[0]), distance)

    def score(self, found: np.ndarray) -> np.ndarray:
        """Closeness (N,) to P(generated) (N,) float64."""
        return expit(self.slope * found + self.offset)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``distance.safetensors``."""
        save_file({name: value.cpu() for name, value in self.distance.state_dict().items()}, folder / FILE)
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote and gave."""
        return cls(facts["slope"], facts["offset"], restored(load_file(folder / FILE)))


Detector = Aeroblade
