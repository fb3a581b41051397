"""From a manifest to the embedding file of one backbone, computing only what the row cache does not hold."""

import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import cache, embeddings, files, ray
from aigid.core.errors import InputError
from aigid.core.files import batch_size, choose_device, device_name, engine_from_env, num_workers
from aigid.core.paths import AnyPath
from aigid.degradations import views
from aigid.features import encoder, pipeline, ray_actor, row_cache
from aigid.features.backbones import BackboneSettings, ConcatSettings, components
from aigid.features.encoder import Backbone
from aigid.features.reader import DecodedImage, Reader
from aigid.images.hashing import hash_files

RECORDED_VERSIONS = ("numpy", "open_clip_torch", "pillow", "torch", "torchvision", "transformers")
READ_ROWS = 4096  # rows that are in memory at once when a file is put together
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionResult:
    """The rows of an embedding file, still in the cache, and the samples that have none."""

    rows: dict[str, list[row_cache.CachedEmbeddings]]  # of each view, those of the towers, side by side
    widths: list[int]  # of the towers
    key: np.ndarray  # (N,) S64
    status: list[str]
    attributes: dict[str, object]
    failed: list[DecodedImage]
    num_computed: int  # images of which the cache did not hold everything

    @property
    def dtype(self) -> str:
        """Of the rows."""
        return self.attributes["backbone"]["dtype"]

    @property
    def views(self) -> dict[str, np.ndarray]:
        """(N, D) each, NaN where the image failed; all of them in memory."""
        return {name: self._read(name, 0, len(self.key)) for name in self.rows}

    def write(self, path: Path) -> None:
        """Write the embedding file, atomically, and without having it in memory."""
        shapes = {name: (sum(self.widths), self.dtype) for name in self.rows}
        with embeddings.create(path, shapes, self.key, self.status, self.attributes) as out:
            for name in sorted(self.rows):
                for start in range(0, len(self.key), READ_ROWS):
                    out[name].write(start, self._read(name, start, start + READ_ROWS))

    def _read(self, view: str, start: int, stop: int) -> np.ndarray:
        status = np.array(self.status[start:stop])
        out = np.full((len(status), sum(self.widths)), np.nan, self.dtype)
        ends = np.cumsum(self.widths)
        for rows, width, end in zip(self.rows[view], self.widths, ends, strict=True):
            rows.read(start, stop, out[:, end - width : end])
        out[status != embeddings.OK] = np.nan
        return out


class EncoderLoader:
    """Loads towers, each once; ``largest`` bounds the batch of those whose own is found on CUDA."""

    def __init__(self, largest: int = encoder.LARGEST) -> None:
        self._loaded: dict[str, Backbone] = {}
        self._largest = largest

    def load(self, settings: BackboneSettings, num_images: int) -> Backbone:
        """The tower, with a batch for so many images."""
        name = settings.model_dump_json()
        if name not in self._loaded:
            self._loaded[name] = Backbone(settings, choose_device(device_name()))
        encoder.choose_batch_size(self._loaded[name], batch_size(), num_images, self._largest)
        return self._loaded[name]


def extract(
    manifest: pd.DataFrame,
    root: AnyPath,
    settings: BackboneSettings | ConcatSettings,
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
    alongside: Iterable[BackboneSettings] = (),
    out: Path | None = None,
    loader: EncoderLoader | None = None,
    on: str | None = None,
    pixels: Mapping[str, np.ndarray] | None = None,
    cache_root: Path | None = None,
) -> ExtractionResult:
    """Embed every image of a manifest in every view; row = manifest row, a failed image keeps its row.

    Images that must be decoded are also embedded ``alongside`` by towers that other files will want; of those that
    cannot be, a line is told. ``out`` is where the file will be written, for the forecast of space; ``loader`` keeps
    towers from one call to the next, ``pixels`` are the ``Reader``'s. ``on`` is ``local`` or ``ray``, else
    ``$AIGID_ENGINE`` does. ``cache_root`` stands in for ``$AIGID_CACHE``: it is filled on this machine alone.

    Raises InputError for an unknown view, one that a backbone cannot take, a root that is no folder, weights that
    cannot be loaded, an embedding that ``settings.dtype`` cannot hold, a cache of another version or that cannot be
    written, too little space.
    """
    run = ray.choose(on or ("local" if cache_root else engine_from_env()), pipeline.run, ray_actor.run)
    definitions = {name: views.to_dict(name) for name in view_names}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    loader = loader or EncoderLoader()
    row_cache.warn_other_versions()
    backbones = [loader.load(tower, len(manifest)) for tower in components(settings)]
    key = content_keys(manifest, root)
    keys = row_cache.KeyIndex(key)
    rows = {
        name: [cached_rows(tower, definition, seed, keys, cache_root) for tower in backbones]
        for name, definition in definitions.items()
    }
    blocks = [
        pipeline.ExtractionTask(name, tower, found.shelf, ~found.have)
        for name in definitions
        for tower, found in zip(backbones, rows[name], strict=True)
    ]
    missing = np.any([block.missing for block in blocks], axis=0)
    if missing.any():
        others = [other for other in alongside if other not in components(settings)]
        blocks += _co_extracted(others, loader, definitions, seed, keys, missing, cache_root)
    _require_space(blocks, out, len(key) * len(rows) * sum(tower.dim for tower in backbones), settings.dtype)
    failed = run(blocks, Reader(root, seed, pixels or {}), manifest["path"].tolist(), key, num_workers())
    status = np.full(len(manifest), embeddings.OK, dtype=object)
    for sample in failed:
        status[sample.place] = sample.status
    for found in (found for view in rows.values() for found in view):
        found.update()
        assert (found.have | (status != embeddings.OK)).all(), "a row was computed, and is not in the cache"
    widths = [tower.dim for tower in backbones]
    attributes = _attributes(settings, backbones, definitions, seed)
    return ExtractionResult(rows, widths, key, status.tolist(), attributes, failed, int(missing.sum()))


def content_keys(manifest: pd.DataFrame, root: AnyPath) -> np.ndarray:
    """(N,) S64: the images' sha256 by the manifest, or by their files where it has none."""
    key = (manifest["sha256"] if "sha256" in manifest else pd.Series("", manifest.index)).to_numpy().astype(cache.KEY)
    unknown = np.flatnonzero(key == b"")
    paths = manifest["path"].iloc[unknown]
    key[unknown] = hash_files([str((root / path).absolute()) for path in paths])
    return key


def cached_rows(
    tower: Backbone, definition: dict, seed: int, keys: row_cache.KeyIndex, root: Path | None = None
) -> row_cache.CachedEmbeddings:
    """What the cache holds of a tower in one view."""
    about = {"tower": tower.fingerprint, "view": definition, "seed": seed}
    return row_cache.CachedEmbeddings(row_cache.open_entry(about, tower.settings.model_dump(mode="json"), root), keys)


def _co_extracted(
    others: list[BackboneSettings],
    loader: EncoderLoader,
    definitions: dict,
    seed: int,
    keys: row_cache.KeyIndex,
    missing: np.ndarray,
    cache_root: Path | None,
) -> list[pipeline.ExtractionTask]:
    """What the other towers lack of the images that must be decoded anyway."""
    blocks = []
    for settings in others:
        try:
            tower = loader.load(settings, len(keys))
            rows = {
                name: cached_rows(tower, definition, seed, keys, cache_root) for name, definition in definitions.items()
            }
        except InputError as error:
            LOG.warning("%s is not computed alongside: %s", settings.model, error)
            continue
        for name, found in rows.items():
            blocks.append(pipeline.ExtractionTask(name, tower, found.shelf, missing & ~found.have, asked=False))
    return blocks


def _require_space(blocks: list[pipeline.ExtractionTask], out: Path | None, num_values: int, dtype: str) -> None:
    needed = 0
    for block in blocks:
        if num_rows := int(block.missing.sum()):
            block.shelf.require_writable()
            needed += num_rows * (block.tower.dim * np.dtype(block.tower.settings.dtype).itemsize + 64)
    needs = {row_cache.embeddings_folder(): needed}
    if out is not None:
        needs[out.parent] = num_values * np.dtype(dtype).itemsize
    files.check_free_space(needs)


def _attributes(
    settings: BackboneSettings | ConcatSettings,
    backbones: list[Backbone],
    definitions: dict[str, object],
    seed: int,
) -> dict[str, object]:
    versions = {"python": platform.python_version()} | {library: version(library) for library in RECORDED_VERSIONS}
    return {
        "backbone": settings.model_dump(mode="json"),
        "fingerprint": [tower.fingerprint for tower in backbones],
        "widths": [tower.dim for tower in backbones],
        "weights_sha256": [tower.weights_sha256 for tower in backbones],
        "weights_files": [tower.weights_files for tower in backbones],
        "preprocessing": [tower.settings.preprocess.model_dump(mode="json") for tower in backbones],
        "views": definitions,
        "seed": seed,
        "versions": versions,
    }
