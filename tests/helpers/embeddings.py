"""Embedding files of arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aigid.core import embeddings


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
