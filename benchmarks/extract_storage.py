"""benchmarks.extract, storage: assembling from a warm cache, reading at random, memory against the number of images."""

from pathlib import Path
from time import perf_counter

import h5py
import numpy as np
import pandas as pd
import torch
from rich.table import Table

from aigid.core import embeddings
from aigid.degradations import views
from aigid.features import row_cache
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import extract
from benchmarks import extract as speed
from benchmarks import pictures

ROWS, BATCH, BATCHES = 100_000, 256, 200


def store_and_cache(folder: Path) -> Table:
    """krow/s of putting a file together, and of random batches of its rows."""
    settings = speed.tiny_clip(32)
    backbone = TorchBackbone(settings, torch.device("cpu"))
    metadata = {"tower": backbone.fingerprint, "view": views.to_dict("clean"), "seed": 0}
    rng = np.random.default_rng(0)
    keys = [rng.bytes(32).hex() for _ in range(ROWS)]
    with row_cache.RowWriter(row_cache.open_entry(metadata, settings.model_dump(mode="json"))) as writer:
        for key in keys:
            writer.add(key.encode(), rng.integers(0, 1000, backbone.dim).astype(np.float16))
    paths = [f"{number}.jpg" for number in range(ROWS)]
    table = Table("what", "krow/s", "ratio", title=f"{ROWS} rows of {backbone.dim} float16")
    for name, order in (("in the cache's order", np.arange(ROWS)), ("in another order", rng.permutation(ROWS))):
        listed = {"path": paths, "label": 0, "generator": "real", "split": "test"}
        manifest = pd.DataFrame(listed | {"sha256": [keys[row] for row in order]})
        start = perf_counter()
        extract(manifest, folder, settings).write(folder / "rows.h5")
        table.add_row(f"warm cache to file, {name}", f"{ROWS / (perf_counter() - start) / 1e3:.0f}", "")
    batches = [rng.choice(ROWS, BATCH, replace=False) for _ in range(BATCHES)]
    with h5py.File(folder / "rows.h5") as file:
        fancy = _krows(lambda rows: file["views/clean"][np.sort(rows)], batches)
    ours = _krows(embeddings.read(folder / "rows.h5").view("clean").__getitem__, batches)
    table.add_row(f"random batches of {BATCH}, h5py fancy indexing (reference)", f"{fancy:.0f}", "1.0")
    table.add_row(f"random batches of {BATCH}, memory map", f"{ours:.0f}", f"{ours / fancy:.1f}")
    return table


def _krows(read: object, batches: list[np.ndarray]) -> float:
    read(batches[0])
    start = perf_counter()
    for rows in batches:
        read(rows)
    return BATCH * len(batches) / (perf_counter() - start) / 1e3


def memory(folder: Path, few: int) -> Table:
    """Peak memory of extracting twenty times as many images of 64 px."""
    table = Table("images", "peak MB", "ratio", "images/s", title="memory, images of 64 px, one process each")
    first = None
    for num in (few, 20 * few):
        images = folder / f"memory-{num}"
        images.mkdir()
        pictures.write(images, num, 64)
        run = speed.measure("fast", images, (32,), images / "out.h5")
        first = first or run["peak"]
        table.add_row(str(num), f"{run['peak']:.0f}", f"{run['peak'] / first:.2f}", f"{num / run['seconds']:.0f}")
    return table
