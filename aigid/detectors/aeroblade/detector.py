"""The detector: P(generated) by Platt's sigmoid on validation's closeness."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import expit

from aigid.detectors.aeroblade.settings import AerobladeSettings
from aigid.detectors.svm.fitting import platt
from aigid.errors import InputError


class Aeroblade:
    """Nothing is trained but the two numbers of a sigmoid; its slope is not negative: what comes back is generated."""

    Settings = AerobladeSettings

    def __init__(self, slope: float, offset: float) -> None:
        self.slope, self.offset = slope, offset

    @classmethod
    def fit(cls, found: np.ndarray, labels: np.ndarray) -> Self:
        """From the closeness (N,) of validation images and their labels (N,); NaN is left out."""
        good = ~np.isnan(found)
        if len(set(labels[good].tolist())) < 2:
            raise InputError("aeroblade: split val: reals and generated images are both needed to calibrate")
        slopes, offsets = platt(found[good][:, None], 1 - labels[good], 2)
        return cls(float(slopes[0]), float(offsets[0]))

    def score(self, found: np.ndarray) -> np.ndarray:
        """Closeness (N,) to P(generated) (N,) float64."""
        return expit(self.slope * found + self.offset)

    def save(self, folder: Path) -> dict[str, Any]:
        """Two numbers, which need no file of their own."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` gave."""
        return cls(facts["slope"], facts["offset"])
