"""The nearest-neighbour probe of UniversalFakeDetect (Ojha et al., CVPR 2023, section 4)."""

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field
from safetensors.numpy import load_file, save_file
from sklearn.neighbors import NearestNeighbors

from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import LabeledEmbeddings, require_both_classes


class KnnSettings(Settings):
    """``k`` neighbours of each class, by cosine."""

    backbone: str
    dataset: str
    k: Annotated[int, Field(ge=1)]


class KNearestNeighbors(EmbeddingDetector):
    """Is an image nearer to the fakes or to the reals of the training set?

    The score is (1 + (f - r) / 2) / 2, with f and r the mean cosine similarity to the k nearest training fakes and
    reals. For k = 1 a score above 0.5 is the paper's rule; it ranks, and is no calibrated probability.
    """

    Settings = KnnSettings

    def __init__(self, real: np.ndarray, fake: np.ndarray, k: int) -> None:
        self.real, self.fake, self.k = real, fake, k  # banks (N, D) float16
        self._search = [
            NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.astype(np.float32))
            for bank in (real, fake)
        ]

    @classmethod
    def fit(cls, settings: KnnSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Keep the training embeddings; neither val nor the seed is needed."""
        require_both_classes(train, "train")
        real, fake = (train.x[train.y == label].astype(np.float16) for label in (0, 1))
        if settings.k > min(len(real), len(fake)):
            raise InputError(f"knn.k={settings.k}: train has {len(real)} real and {len(fake)} generated images")
        return cls(real, fake, settings.k)

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64 in [0, 1]."""
        real, fake = (1 - search.kneighbors(embeddings)[0].mean(axis=1) for search in self._search)
        return np.clip((1 + (fake.astype(np.float64) - real) / 2) / 2, 0, 1)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``banks.safetensors``."""
        save_file({"real": self.real, "fake": self.fake}, folder / "banks.safetensors")
        return {"k": self.k}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        banks = load_file(folder / "banks.safetensors")
        return cls(banks["real"], banks["fake"], facts["k"])


Detector = KNearestNeighbors
