"""Estimate an extraction: cached and missing rows, bytes, and hours at a measured rate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.core.files import num_workers
from aigid.core.paths import AnyPath
from aigid.degradations import views
from aigid.features import pipeline, row_cache
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import EncoderLoader, cached_rows, content_keys
from aigid.features.reader import Reader

SAMPLE = 200  # images that are embedded to measure the rate; they stay in the cache


@dataclass(frozen=True)
class CostLine:
    """One backbone in one view: cached and missing images, bytes to add to the cache, bytes of the embedding file."""

    backbone: str
    view: str
    cached: int
    missing: int
    cache_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class ExtractionEstimate:
    """``images`` must be read; ``rate`` is one machine's, in images/s over all backbones and views, None if unknown."""

    lines: list[CostLine]
    images: int
    rate: float | None

    @property
    def hours(self) -> float | None:
        """Hours of one machine; None without a rate."""
        return 0.0 if not self.images else self.images / self.rate / 3600 if self.rate else None

    def to_json(self) -> dict[str, object]:
        lines = [asdict(line) for line in self.lines]
        return {"images": self.images, "rate": self.rate, "hours": self.hours, "lines": lines}


def estimate(
    manifest: pd.DataFrame,
    root: AnyPath,
    backbones: dict[str, BackboneSettings],
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
    rate: float | None = None,
    sample: int = SAMPLE,
) -> ExtractionEstimate:
    """Estimate the extraction of a manifest's images by backbones, which are given by name.

    Without a ``rate``, ``sample`` random images of the missing ones are embedded to measure it; their rows are cached.
    """
    loader, key = EncoderLoader(), content_keys(manifest, root)
    keys, tasks, lines = row_cache.KeyIndex(key), [], []
    for name, settings in backbones.items():
        backbone = loader.load(settings, len(manifest))
        for view in view_names:
            cached = cached_rows(backbone, views.to_dict(view), seed, keys)
            missing = ~cached.cached_mask
            width, num = backbone.dim * np.dtype(settings.dtype).itemsize, int(missing.sum())
            distinct = len(np.unique(keys.indices[missing]))
            lines.append(CostLine(name, view, len(key) - num, num, distinct * (width + 64), len(key) * width))
            tasks.append(pipeline.ExtractionTask(view, backbone, cached.entry, missing))
    remaining = np.flatnonzero(np.any([task.missing for task in tasks], axis=0))
    if rate is None and len(remaining):
        sampled = np.zeros(len(key), bool)
        sampled[seeding.numpy_generator("forecast", 0).permutation(remaining)[:sample]] = True
        parts = [replace(task, missing=task.missing & sampled) for task in tasks]
        start = perf_counter()
        pipeline.run(parts, Reader(root, seed), manifest["path"].tolist(), key, num_workers())
        rate = int(sampled.sum()) / (perf_counter() - start)
    return ExtractionEstimate(lines, len(remaining), rate)
