"""The fitted detector: two texts a generator, which no longer need the tower that made them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import softmax

from aigid.base.errors import InputError
from aigid.detectors.base.protocol import EmbeddingDetector
from aigid.detectors.base.rows import Rows, class_names, class_numbers, require_finite, standardization
from aigid.detectors.base.samples import Samples
from aigid.detectors.occ.settings import OccSettings
from aigid.features.backbones import BackboneSettings, JointSettings

if TYPE_CHECKING:
    from aigid.detectors.occ.training import Tower

FILE = "arrays.safetensors"


class OccClip(EmbeddingDetector):
    """One classifier a generator against photographs; together they name the generator.

    The published rule takes the generator with the largest P(fake) if that exceeds 1/2, else photograph. It is what
    the largest of the softmax over 0 (photograph) and each classifier's log-odds of fake says, and that also gives
    probabilities.
    """

    Settings = OccSettings

    def __init__(self, arrays: dict[str, np.ndarray], classes: list[str]) -> None:
        self.arrays, self.classes = arrays, classes  # texts (K - 1, 2, D) real and fake, scale (1,), mean and inverse

    @classmethod
    def fit(cls, settings: OccSettings, train: Rows, val: Rows, seed: int, tower: "Tower | None" = None) -> Self:
        """Learn the contexts of all classifiers on train by the text tower of the same CLIP; val is not needed."""
        tower = tower or _tower_of(train, settings.backbone)
        classes = class_names(train.generators, "train")
        require_finite(train, "train")
        if train.x.shape[1] != tower.dim:
            raise InputError(f"occ.backbone: its texts have {tower.dim} numbers, its images {train.x.shape[1]}")
        from aigid.detectors.occ.training import learn

        arrays = {}
        if settings.scaling == "standard":
            mean, std = standardization(train.x)
            arrays = {"mean": mean.astype(np.float32), "inverse": (1 / std).astype(np.float32)}
        y = class_numbers(train.generators, classes, "train")
        texts = learn(settings, _prepare(train.x, arrays), y, tower, seed)
        return cls(arrays | {"texts": texts, "scale": np.array([tower.scale])}, classes)

    def odds(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the log-odds (N, K - 1) float64 of each generator against photographs."""
        difference = (self.arrays["texts"][:, 1] - self.arrays["texts"][:, 0]).astype(np.float64)
        return self.arrays["scale"][0] * (_prepare(embeddings, self.arrays) @ difference.T)

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64."""
        odds = self.odds(embeddings)
        return softmax(np.hstack([np.zeros((len(odds), 1)), odds]), axis=1)

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return 1 - self.probabilities(embeddings)[:, 0]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``arrays.safetensors``."""
        save_file({name: np.ascontiguousarray(value) for name, value in self.arrays.items()}, folder / FILE)
        return {"classes": self.classes}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        return cls(load_file(folder / FILE), facts["classes"])


Detector = OccClip


def _tower_of(train: Samples, name: str) -> "Tower":
    """Return the text tower of the CLIP that made the embeddings."""
    from aigid.features.text import load

    made = train.backbones
    if len(made) != 1:
        raise InputError(f"occ.backbone: {len(made)} backbones in {train.embedding_files[0]}, want one of open_clip")
    kind = JointSettings if made[0]["library"] == "joint" else BackboneSettings
    return load(kind(**made[0]), name)


def _prepare(x: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N, D) rows of length 1."""
    if "mean" in arrays:
        x = (x - arrays["mean"]) * arrays["inverse"]
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
