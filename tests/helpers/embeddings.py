"""Embeddings and their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aigid.core import embeddings
from aigid.detectors.samples import LabeledEmbeddings


def write_embeddings(
    path: Path | str,
    views: Mapping[str, np.ndarray],
    key: Sequence[str] | np.ndarray,
    status: Sequence[str] | np.ndarray,
    attributes: Mapping[str, object],
) -> None:
    """Write an embedding file of views (N, D)."""
    assert all(rows.ndim == 2 and len(rows) == len(key) for rows in views.values())
    shapes = {name: (rows.shape[1], str(rows.dtype)) for name, rows in views.items()}
    with embeddings.create(path, shapes, key, status, attributes) as out:
        for name in sorted(views):
            out[name].write(0, views[name])


def at_angles(*degrees: float, length: float = 1.0) -> np.ndarray:
    """Return points (N, 2) float64 at angles, ``length`` from the origin."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * length


def separable_rows(
    seed: int, num: int = 300, dim: int = 12, shift: float = 0.7, columns: slice = slice(3, 4)
) -> LabeledEmbeddings:
    """Return rows of very different scales whose fakes are shifted in some columns; every second one is a fake."""
    rng, scale = np.random.default_rng(seed), np.linspace(0.1, 5, dim)
    y = np.arange(num) % 2
    x = rng.normal(size=(num, dim)) * scale + 3
    x[:, columns] += shift * y[:, None] * scale[columns]
    return LabeledEmbeddings(x.astype(np.float32), y, np.array([f"{number}.png" for number in range(num)]))
