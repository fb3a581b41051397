"""The detector: P(generated) by Platt's sigmoid on validation's closeness."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.torch import load_file, save_file
from scipy.special import expit

from aigid.align.vae import folder_of
from aigid.base.errors import InputError
from aigid.detectors.aeroblade.distance import Perceptual, perceptual, restored
from aigid.detectors.aeroblade.measure import Measure
from aigid.detectors.aeroblade.settings import AerobladeSettings
from aigid.detectors.base.protocol import ImageDetector, Scores
from aigid.detectors.base.samples import Samples
from aigid.detectors.svm.fitting import platt

FILE = "distance.safetensors"


class Aeroblade(ImageDetector):
    """Nothing is trained but the two numbers of a sigmoid; its slope is not negative: what comes back is generated."""

    Settings = AerobladeSettings

    learns_from = ("val",)

    def __init__(self, slope: float, offset: float, distance: Perceptual, size: int, vaes: Sequence[Path] = ()) -> None:
        self.slope, self.offset, self.distance = slope, offset, distance
        self.size, self.vaes = size, list(vaes)  # px; the autoencoders' folders
        self._measure: Measure | None = None

    @classmethod
    def fit(cls, settings: AerobladeSettings, train: Samples, val: Samples, seed: int, *, vae: Path) -> Self:
        """Return the detector calibrated on val, by the pipeline's own autoencoder and those of the settings."""
        vaes = [folder_of(folder) for folder in (vae, *map(Path, settings.autoencoders))]
        measure = Measure(perceptual(settings, seed), settings.size, vaes, seed)
        values, _ = measure.closeness(val.table, val.root, "clean")
        fitted = cls.calibrate(values, val.table["label"].to_numpy(), measure.distance, settings.size, vaes)
        fitted._measure = measure
        return fitted

    @classmethod
    def calibrate(
        cls, found: np.ndarray, labels: np.ndarray, distance: Perceptual, size: int, vaes: Sequence[Path] = ()
    ) -> Self:
        """From the closeness (N,) of validation images by a distance, and labels (N,); NaN is left out."""
        good = ~np.isnan(found)
        if len(set(labels[good].tolist())) < 2:
            raise InputError("aeroblade: split val: reals and generated images are both needed to calibrate")
        slopes, offsets = platt(found[good][:, None], 1 - labels[good], 2)
        return cls(float(slopes[0]), float(offsets[0]), distance, size, vaes)

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated) of images, each measured once in a view."""
        if self._measure is None or self._measure.seed != samples.seed:
            self._measure = Measure(self.distance, self.size, self.vaes, samples.seed)
        values, status = {}, None
        for view in views:
            closeness, status = self._measure.closeness(samples.table, samples.root, view)
            values[view] = self.p_generated(closeness)
        return Scores(status, values)

    def p_generated(self, found: np.ndarray) -> np.ndarray:
        """Closeness (N,) to P(generated) (N,) float64."""
        return expit(self.slope * found + self.offset)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``distance.safetensors``, and a copy of each autoencoder."""
        for number, vae in enumerate(self.vaes):
            shutil.copytree(vae, folder / f"autoencoder{number}", copy_function=shutil.copyfile)
        save_file({name: value.cpu() for name, value in self.distance.state_dict().items()}, folder / FILE)
        return {"slope": self.slope, "offset": self.offset, "size": self.size}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote and gave."""
        vaes = sorted(path for path in folder.iterdir() if path.is_dir())
        return cls(facts["slope"], facts["offset"], restored(load_file(folder / FILE)), facts["size"], vaes)


Detector = Aeroblade
