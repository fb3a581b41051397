"""What a detector is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core.embeddings import OK
from aigid.detectors.samples import Samples

Floats = NDArray[np.floating[Any]]
BLOCK = 8192  # rows in memory at a time
MIN_ROWS = 8  # rows that a detector gets: of fewer a product's last bits differ, of which GenDet makes 2e-6


@dataclass(frozen=True)
class Scores:
    """``status`` (N,) str; by view P(generated) (N,) or class probabilities (N, K), class 0 being real; else NaN.

    ``messages`` say more of images that failed, by their index.
    """

    status: NDArray[Any]
    values: dict[str, Floats]
    messages: dict[int, str] = field(default_factory=dict)


class Detector(Protocol):
    """Learns from samples, scores samples, and is saved to a folder without pickle.

    ``logs`` are tables of the training by name; ``learns_from`` are the splits whose images it has seen.
    """

    Settings: type
    learns_from: tuple[str, ...]
    logs: Mapping[str, pd.DataFrame]

    @classmethod
    def fit(cls, settings: Any, train: Any, val: Any, seed: int, **components: Path) -> Self:
        """Return a detector fitted on ``train``; choices are made on ``val``; ``components`` are folders it needs.

        Both are `LabeledEmbeddings` for an `EmbeddingDetector`, else `Samples`.
        """

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return the scores of all samples in the views."""

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return what must be equal where equal images are to have equal scores, as far as it is known."""

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the settings of the networks that it started from."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the arrays below ``folder``; return the ``detector_state`` of ``model.json``."""

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector whose ``save`` wrote the folder and returned ``state``."""


@runtime_checkable
class GeneratorClassifier(Protocol):
    """A detector on embeddings that also names the generator: P(generated) = 1 - P(real)."""

    classes: list[str]  # ``real`` first

    def predict_proba(self, embeddings: Floats) -> Floats:
        """Return the class probabilities (N, K) float64 of (N, D), rows summing to 1."""


class ImageDetector:
    """What detectors have in common that read the images themselves; they start from no other network."""

    learns_from: tuple[str, ...] = ("train", "val")
    logs: Mapping[str, pd.DataFrame] = MappingProxyType({})

    def fingerprints(self, samples: Samples) -> list[str]:
        return []

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        return []


class EmbeddingDetector:
    """Scores samples by their embeddings, (N, D) to P(generated) (N,) float64 in [0, 1]."""

    learns_from: tuple[str, ...] = ("train", "val")
    logs: Mapping[str, pd.DataFrame] = MappingProxyType({})

    def p_generated(self, embeddings: Floats) -> Floats:
        """Return P(generated) (N,) float64 of (N, D)."""
        if isinstance(self, GeneratorClassifier):
            return 1 - self.predict_proba(embeddings)[:, 0]
        raise NotImplementedError

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated), or the class probabilities of a `GeneratorClassifier`."""
        predict, shape = self.p_generated, (len(samples.table),)
        if isinstance(self, GeneratorClassifier):
            predict, shape = self.predict_proba, (len(samples.table), len(self.classes))
        ok = np.flatnonzero(samples.status == OK)
        values = {view: np.full(shape, np.nan) for view in views}
        for view, result in values.items():
            for start in range(0, len(ok), BLOCK):
                rows = ok[start : start + BLOCK]
                x = samples.embeddings(view, rows)
                padded = x if len(x) >= MIN_ROWS else np.resize(x, (MIN_ROWS, x.shape[1]))  # repeats them
                result[rows] = predict(padded)[: len(x)]
        return Scores(samples.status, values, samples.messages)

    def fingerprints(self, samples: Samples) -> list[str]:
        return samples.fingerprints

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        return samples.backbones
