"""What a detector is."""

from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from aigid.detectors.base.rows import Rows


class Detector(Protocol):
    """Learns from embeddings, gives P(generated), and lives in a folder without pickle."""

    Settings: type

    @classmethod
    def fit(cls, settings: Any, train: Rows, val: Rows, seed: int) -> Self:
        """A detector fitted on ``train``; choices are made on ``val``."""

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64 in [0, 1]: P(generated)."""

    def save(self, folder: Path) -> dict[str, object]:
        """Write the arrays below ``folder``; returns the facts that go into ``model.json``."""

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""


@runtime_checkable
class Attributor(Protocol):
    """A detector that also says which generator it was: P(generated) is what P(real) leaves."""

    classes: list[str]  # ``real`` first

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64, rows summing to 1."""
