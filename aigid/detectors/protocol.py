"""What a detector is, and where each one is found."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from aigid.detectors.rows import Rows
from aigid.errors import InputError

DETECTORS = {"knn": "aigid.detectors.knn:NearestNeighbours", "probe": "aigid.detectors.probe:LinearProbe"}


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


def find(name: str) -> type[Detector]:
    """The detector's class; InputError that lists the known names."""
    if name not in DETECTORS:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(DETECTORS)}")
    module, attribute = DETECTORS[name].split(":")
    return getattr(import_module(module), attribute)
