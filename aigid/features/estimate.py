"""What an extraction would cost: the rows that the cache holds and lacks, bytes, and hours at a measured pace."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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

SAMPLE = 200  # images that are embedded to learn the pace; they stay in the cache


@dataclass(frozen=True)
class CostLine:
    """One tower in one view: images that the cache holds and lacks, bytes of what it lacks and of the whole file."""

    backbone: str
    view: str
    cached: int
    missing: int
    cache_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class ExtractionEstimate:
    """``images`` must be read; ``rate`` is images a second of one machine, over all that is wanted of each.

    ``hours`` are those of one machine; None where nothing was measured and no rate was given.
    """

    lines: list[CostLine]
    images: int
    rate: float | None

    @property
    def hours(self) -> float | None:
        """Of one machine."""
        return 0.0 if not self.images else self.images / self.rate / 3600 if self.rate else None

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "images": self.images,
            "rate": self.rate,
            "hours": self.hours,
            "lines": [asdict(it) for it in self.lines],
        }


def estimate(
    manifest: pd.DataFrame,
    root: AnyPath,
    towers: dict[str, BackboneSettings],
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
    rate: float | None = None,
    sample: int = SAMPLE,
) -> ExtractionEstimate:
    """Of towers by name, on a manifest's images; without a ``rate`` a sample of the missing images is embedded.

    The sample's rows are kept, so measuring is part of the work.
    """
    loader, key = EncoderLoader(), content_keys(manifest, root)
    keys, blocks, lines = row_cache.KeyIndex(key), [], []
    for name, settings in towers.items():
        tower = loader.load(settings, len(manifest))
        for view in view_names:
            rows = cached_rows(tower, views.to_dict(view), seed, keys)
            width = tower.dim * np.dtype(settings.dtype).itemsize
            distinct = len(np.unique(keys.places[~rows.have]))
            missing = int((~rows.have).sum())
            lines.append(CostLine(name, view, len(key) - missing, missing, distinct * (width + 64), len(key) * width))
            blocks.append(pipeline.ExtractionTask(view, tower, rows.shelf, ~rows.have))
    todo = np.flatnonzero(np.any([block.missing for block in blocks], axis=0))
    if rate is None and len(todo):
        rate = _measure_rate(blocks, todo, Reader(root, seed), manifest["path"].tolist(), key, sample)
    return ExtractionEstimate(lines, len(todo), rate)


def _measure_rate(
    blocks: list[pipeline.ExtractionTask],
    todo: np.ndarray,
    reader: Reader,
    paths: list[str],
    key: np.ndarray,
    sample: int,
) -> float:
    """Images a second on a random sample of those that are wanted."""
    chosen = np.zeros(len(key), bool)
    chosen[seeding.numpy_generator("forecast", 0).permutation(todo)[:sample]] = True
    parts = [pipeline.ExtractionTask(it.view, it.tower, it.shelf, it.missing & chosen) for it in blocks]
    start = perf_counter()
    pipeline.run(parts, reader, paths, key, num_workers())
    return int(chosen.sum()) / (perf_counter() - start)
