"""The nearest-neighbor probe of UniversalFakeDetect (Ojha et al., CVPR 2023, section 4)."""

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import save_file
from sklearn.neighbors import NearestNeighbors

from aigid.core.bundle_files import read_arrays
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, require_both_classes

FILE = "banks.safetensors"


class KnnSettings(Settings):
    """``k`` neighbors of each class, by cosine."""

    backbone: str
    dataset: str
    k: Annotated[int, Field(ge=1)]


class KNearestNeighbors(EmbeddingDetector):
    """Is an image nearer to the fakes or to the reals of the training set?

    The score is (1 + (f - r) / 2) / 2, with f and r the mean cosine similarity to the k nearest training fakes and
    reals. For k = 1 a score above 0.5 is the paper's rule; it ranks, and is no calibrated probability.
    """

    Settings = KnnSettings

    def __init__(self, real: NDArray[np.float16], fake: NDArray[np.float16], k: int) -> None:
        self.real, self.fake, self.k = real, fake, k  # banks (N, D)
        self._search = [
            NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(bank.astype(np.float32))
            for bank in (real, fake)
        ]

    @classmethod
    def fit(cls, settings: KnnSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Store the training embeddings; val and the seed are unused."""
        require_both_classes(train, "train")
        real, fake = (train.x[train.y == label].astype(np.float16) for label in (0, 1))
        if settings.k > min(len(real), len(fake)):
            raise InputError(f"knn.k={settings.k}: train has {len(real)} real and {len(fake)} generated images")
        return cls(real, fake, settings.k)

    def p_generated(self, embeddings: Floats) -> Floats:
        real, fake = (1 - search.kneighbors(embeddings)[0].mean(axis=1) for search in self._search)
        scores: Floats = np.clip((1 + (fake.astype(np.float64) - real) / 2) / 2, 0, 1)
        return scores

    def save(self, folder: Path) -> dict[str, Any]:
        save_file({"real": self.real, "fake": self.fake}, folder / FILE)
        return {"k": self.k}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        banks = read_arrays(folder / FILE, "real(R,D) fake(F,D)")
        if not 1 <= state["k"] <= min(map(len, banks.values())):
            raise InputError(f"detector_state: k={state['k']}, of {len(banks['real'])} and {len(banks['fake'])} rows")
        return cls(banks["real"], banks["fake"], state["k"])


Detector = KNearestNeighbors
