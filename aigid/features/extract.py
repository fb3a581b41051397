"""From a manifest to the embedding file of one backbone, computing only what the row cache does not hold."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from aigid import store
from aigid.data.hashes import sha256_of
from aigid.degrade import views
from aigid.device import choose_device
from aigid.errors import InputError
from aigid.features import cache
from aigid.features.backbones import BackboneSettings, JointSettings
from aigid.features.encoder import Backbone
from aigid.features.reader import Reader, Request, Sample
from aigid.files import batch_size, device_name, num_workers

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "torch", "transformers")


@dataclass(frozen=True)
class Extraction:
    """The rows of an embedding file, and the samples that have none."""

    views: dict[str, np.ndarray]  # (N, D) each, NaN where the image failed
    key: np.ndarray  # (N,) S64
    status: list[str]
    attributes: dict[str, object]
    failed: list[Sample]
    num_computed: int  # images of which the cache did not hold everything

    def write(self, path: Path) -> None:
        """Write the embedding file, atomically."""
        store.write(path, self.views, self.key, self.status, self.attributes)


@dataclass(frozen=True)
class Block:
    """One tower in one view: its columns of the view's rows, and which of them are there."""

    view: str
    tower: Backbone
    out: np.ndarray  # (N, d), a part of the view's rows
    shelf: cache.Shelf
    have: np.ndarray  # (N,) bool


def extract(
    manifest: pd.DataFrame,
    root: Path,
    settings: BackboneSettings | JointSettings,
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
) -> Extraction:
    """Embed every image of a manifest in every view; row = manifest row, a failed image keeps its row.

    Raises InputError for an unknown view, a root that is no folder, weights that cannot be loaded, an embedding that
    ``settings.dtype`` cannot hold.
    """
    definitions = {name: views.definition(name) for name in view_names}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    parts = settings.parts if isinstance(settings, JointSettings) else [settings]
    device, batch = choose_device(device_name()), min(batch_size(), len(manifest))
    towers = [Backbone(part.model_copy(update={"dtype": settings.dtype}), device, batch) for part in parts]
    width = sum(tower.dim for tower in towers)
    rows = {name: np.full((len(manifest), width), np.nan, settings.dtype) for name in definitions}
    if "sha256" not in manifest:
        manifest = manifest.assign(sha256=sha256_of([str((root / path).absolute()) for path in manifest["path"]]))
    key = manifest["sha256"].to_numpy().astype(cache.KEY)
    blocks = [
        block for name in definitions for block in _blocks(name, definitions[name], seed, towers, rows[name], key)
    ]
    failed, num_computed = _compute(blocks, Reader(root, seed), manifest["path"].tolist(), key, batch)
    status = np.full(len(manifest), store.OK, dtype=object)
    for sample in failed:
        status[sample.place] = sample.status
        for out in rows.values():
            out[sample.place] = np.nan
    attributes = _attributes(settings, towers, definitions, seed)
    return Extraction(rows, key, status.tolist(), attributes, failed, num_computed)


def _blocks(
    view: str, definition: dict, seed: int, towers: list[Backbone], rows: np.ndarray, key: np.ndarray
) -> Iterator[Block]:
    start = 0
    for tower in towers:
        out = rows[:, start : start + tower.dim]
        about = {"tower": tower.fingerprint, "view": definition, "seed": seed}
        shelf = cache.shelf(about, tower.settings.model_dump(mode="json"))
        yield Block(view, tower, out, shelf, shelf.fill(key, out))
        start += tower.dim


def _compute(
    blocks: list[Block], reader: Reader, paths: list[str], key: np.ndarray, size: int
) -> tuple[list[Sample], int]:
    """Fill in what the blocks lack; the samples that failed, and how many images had to be read."""
    missing = np.flatnonzero(~np.all([block.have for block in blocks], axis=0))
    failed = []
    with ExitStack() as stack, tqdm(total=len(missing), unit="image", disable=None) as bar:
        writers = [stack.enter_context(cache.Writer(block.shelf)) for block in blocks]
        for samples in reader.batches(_requests(blocks, missing, paths, key, size), num_workers()):
            good = [sample for sample in samples if sample.status == store.OK]
            for block, writer in zip(blocks, writers, strict=True):
                _encode(block, writer, [sample for sample in good if not block.have[sample.place]])
            failed += [replace(sample, squares={}) for sample in samples if sample.status != store.OK]
            bar.update(len(samples))
    return failed, len(missing)


def _requests(
    blocks: list[Block], missing: np.ndarray, paths: list[str], key: np.ndarray, size: int
) -> Iterator[list[Request]]:
    """The missing rows, those of each ``size`` neighbouring manifest rows together."""
    for group in np.split(missing, np.flatnonzero(np.diff(missing // size)) + 1):
        yield [
            Request(place, paths[place], key[place].decode(), wanted)
            for place in group.tolist()
            if (wanted := tuple((b.view, b.tower.settings.preprocess) for b in blocks if not b.have[place]))
        ]


def _encode(block: Block, writer: cache.Writer, samples: list[Sample]) -> None:
    """Embed samples in the block's view, into its columns and the cache."""
    if not samples:
        return
    preprocess = block.tower.settings.preprocess
    embedded = block.tower.encode(np.stack([sample.squares[block.view, preprocess] for sample in samples]))
    largest = np.abs(embedded).max()
    if not largest <= np.finfo(block.out.dtype).max:
        raise InputError(f"view {block.view}: an embedding reaches {largest:g}, more than {block.out.dtype} holds")
    for sample, row in zip(samples, embedded.astype(block.out.dtype), strict=True):
        block.out[sample.place] = row
        writer.add(sample.sha256.encode(), row)


def _attributes(
    settings: BackboneSettings | JointSettings,
    towers: list[Backbone],
    definitions: dict[str, object],
    seed: int,
) -> dict[str, object]:
    versions = {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
    return {
        "backbone": settings.model_dump(mode="json"),
        "fingerprint": [tower.fingerprint for tower in towers],
        "widths": [tower.dim for tower in towers],
        "weights_sha256": [tower.weights_sha256 for tower in towers],
        "weights_files": [tower.weights_files for tower in towers],
        "preprocessing": [tower.settings.preprocess.model_dump(mode="json") for tower in towers],
        "views": definitions,
        "seed": seed,
        "versions": versions,
    }
