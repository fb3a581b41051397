"""What a detector is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd

from aigid.core.embeddings import OK
from aigid.detectors.samples import Samples

BLOCK = 8192  # rows in memory at a time
MIN_ROWS = 8  # rows that a detector is shown: of fewer a product's last bits differ, of which GenDet makes 2e-6


@dataclass(frozen=True)
class Scores:
    """``status`` (N,) str; by view P(generated) (N,) or class probabilities (N, K), class 0 being real; else NaN.

    ``messages`` say more of images that failed, by their index.
    """

    status: np.ndarray
    values: dict[str, np.ndarray]
    messages: dict[int, str] = field(default_factory=dict)


class Detector(Protocol):
    """Learns from samples, scores samples, and lives in a folder without pickle.

    ``logs`` are tables of the training by name; ``learns_from`` are the splits whose images it has seen.
    """

    Settings: type
    learns_from: tuple[str, ...]
    logs: Mapping[str, pd.DataFrame]

    @classmethod
    def fit(cls, settings: Any, train: Samples, val: Samples, seed: int, **components: Path) -> Self:
        """Return a detector fitted on ``train``; choices are made on ``val``; ``components`` are folders it needs."""

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return the scores of all samples in the views."""

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return what must be equal where equal images are to have equal scores, as far as it is known."""

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the settings of the networks that it started from."""

    def save(self, folder: Path) -> dict[str, object]:
        """Write the arrays below ``folder``; returns the facts that go into ``model.json``."""

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """Return what ``save`` wrote."""


@runtime_checkable
class GeneratorClassifier(Protocol):
    """A detector that also says which generator it was: P(generated) is what P(real) leaves."""

    classes: list[str]  # ``real`` first

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64, rows summing to 1."""


class ImageDetector:
    """What detectors have in common that see the images themselves."""

    learns_from: tuple[str, ...] = ("train", "val")
    logs: Mapping[str, pd.DataFrame] = MappingProxyType({})

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return none: what it computes depends on its own files alone."""
        return []

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return none: it did not start from another network."""
        return []


class EmbeddingDetector:
    """Scores samples by their embeddings; a subclass says what (N, D) embeddings mean."""

    learns_from: tuple[str, ...] = ("train", "val")
    logs: Mapping[str, pd.DataFrame] = MappingProxyType({})

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64 in [0, 1]: P(generated)."""
        raise NotImplementedError

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated), or the class probabilities of an ``Attributor``."""
        predict = self.probabilities if isinstance(self, GeneratorClassifier) else self.p_generated
        shape = (len(self.classes),) if isinstance(self, GeneratorClassifier) else ()
        good = np.flatnonzero(samples.status == OK)
        values = {view: np.full((len(samples.table), *shape), np.nan) for view in views}
        for view, result in values.items():
            for start in range(0, len(good), BLOCK):
                rows = good[start : start + BLOCK]
                x = samples.embeddings(view, rows)
                shown = x if len(x) >= MIN_ROWS else np.resize(x, (MIN_ROWS, x.shape[1]))  # repeats them
                result[rows] = predict(shown)[: len(x)]
        return Scores(samples.status, values, samples.messages)

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return those of the backbones, in the order of the columns."""
        return samples.fingerprints

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the settings by which equal embeddings can be made anew."""
        return samples.backbones
