"""From a manifest to the embedding file of one backbone, computing only what the row cache does not hold."""

import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import cache, embeddings, files, ray
from aigid.core.errors import InputError, package_versions
from aigid.core.paths import AnyPath
from aigid.degradations import views
from aigid.features import pipeline, ray_actor, row_cache
from aigid.features.backbones import (
    LARGEST_BATCH,
    Backbone,
    BackboneSettings,
    ConcatSettings,
    components,
    open_backbone,
)
from aigid.features.deferred import load_backbone
from aigid.features.images import Images, KeyIndex, Keys
from aigid.features.pipeline import ExtractionTask
from aigid.features.preprocess import Pixels
from aigid.features.reader import DecodedImage, Reader

RECORDED_VERSIONS = ("numpy", "onnxruntime", "open_clip_torch", "pillow", "torch", "torchvision", "transformers")
READ_ROWS = 4096  # rows that are in memory at once when a file is put together
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractionResult:
    """The rows of an embedding file, still in the cache, and the samples that have none."""

    rows: dict[str, list[row_cache.CachedEmbeddings]]  # by view, one for each backbone, to be concatenated
    widths: list[int]  # of the backbones
    images: Images
    status: list[str]
    attributes: dict[str, Any]
    failed: list[DecodedImage]
    num_computed: int  # images of which the cache did not hold everything

    @property
    def key(self) -> Keys:
        """The sha256 of each image (N,)."""
        keys: Keys = self.images.key[:]
        return keys

    @property
    def views(self) -> dict[str, NDArray[np.floating]]:
        """(N, D) each, NaN where the image failed; all of them in memory."""
        return {name: self._read(name, 0, len(self.status)) for name in self.rows}

    def write(self, path: Path) -> None:
        """Write the embedding file, atomically, and without having it in memory."""
        shapes = {name: (sum(self.widths), self.attributes["backbone"]["dtype"]) for name in self.rows}
        with embeddings.create(path, shapes, self.images.key, self.status, self.attributes) as out:
            for name in sorted(self.rows):
                for start in range(0, len(self.status), READ_ROWS):
                    out[name].write(start, self._read(name, start, start + READ_ROWS))

    def _read(self, view: str, start: int, stop: int) -> NDArray[np.floating]:
        status = np.array(self.status[start:stop])
        out = np.full((len(status), sum(self.widths)), np.nan, self.attributes["backbone"]["dtype"])
        ends = np.cumsum(self.widths)
        for rows, width, end in zip(self.rows[view], self.widths, ends, strict=True):
            rows.read(start, stop, out[:, end - width : end])
        out[status != embeddings.OK] = np.nan
        return out


class EncoderLoader:
    """Loads backbones, each once; ``largest`` bounds the batch sizes that are measured on CUDA."""

    def __init__(self, largest: int = LARGEST_BATCH) -> None:
        self._loaded: dict[str, Backbone] = {}
        self._largest = largest

    def load(self, settings: BackboneSettings, num_images: int, use_cache: bool = True) -> Backbone:
        """Return the backbone, with a batch size for so many images; see ``load_backbone`` for the cache."""
        name = settings.model_dump_json()
        if name not in self._loaded:
            self._loaded[name] = load_backbone(settings) if use_cache else open_backbone(settings)
        self._loaded[name].choose_batch(files.batch_size(), num_images, self._largest)
        return self._loaded[name]


def extract(
    manifest: pd.DataFrame | Images,
    root: AnyPath,
    settings: BackboneSettings | ConcatSettings,
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
    co_extract: Iterable[BackboneSettings] = (),
    out: Path | None = None,
    loader: EncoderLoader | None = None,
    engine: str | None = None,
    pixels: Mapping[str, Pixels] | None = None,
    cache_root: Path | None = None,
) -> ExtractionResult:
    """Embed every image of a manifest in every view; row = manifest row, a failed image has a row of NaN.

    Args:
        co_extract: backbones that embed the images that must be decoded, too; what of it fails is a warning.
        out: where the file will be written, for the check of free space.
        loader: holds backbones from one call to the next.
        engine: ``local`` or ``ray``; default ``$AIGID_ENGINE``.
        pixels: see ``Reader``.
        cache_root: stands in for ``$AIGID_CACHE``, and is filled on this machine alone.

    Raises:
        InputError: an unknown view, or one that a backbone cannot take; a root that is no folder; weights that cannot
            be loaded; an embedding that ``settings.dtype`` cannot hold; a cache of another version or that cannot be
            written; too little space.
    """
    run = ray.choose(engine or ("local" if cache_root else files.engine_from_env()), pipeline.run, ray_actor.run)
    definitions = {name: views.to_dict(name) for name in view_names}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    loader, images = loader or EncoderLoader(), Images.of(manifest)
    row_cache.warn_other_versions()
    backbones = [loader.load(part, len(images), cache_root is None) for part in components(settings)]
    images.hash_unknown(root)
    keys = KeyIndex(images.key)
    rows = {
        name: [cached_rows(backbone, definition, seed, keys, cache_root) for backbone in backbones]
        for name, definition in definitions.items()
    }
    tasks = [
        ExtractionTask(name, backbone, cached.entry, ~cached.cached_mask)
        for name in definitions
        for backbone, cached in zip(backbones, rows[name], strict=True)
    ]
    missing = np.any([task.missing for task in tasks], axis=0)
    if missing.any():
        others = [other for other in co_extract if other not in components(settings)]
        tasks += _co_extracted(others, loader, definitions, seed, keys, missing, cache_root)
    _require_space(tasks, out, len(images) * len(rows) * sum(part.dim for part in backbones), settings.dtype)
    failed = run(tasks, Reader(root, seed, pixels or {}), images.paths, images.key, files.num_workers())
    status, has_failed = [embeddings.OK] * len(images), np.zeros(len(images), bool)
    for sample in failed:
        status[sample.index], has_failed[sample.index] = sample.status, True
    for cached in (cached for view in rows.values() for cached in view):
        cached.update()
        assert (cached.cached_mask | has_failed).all(), "a row was computed, and is not in the cache"
    attributes = _attributes(settings, backbones, definitions, seed)
    return ExtractionResult(
        rows, attributes["widths"], images, status, attributes, failed, num_computed=int(missing.sum())
    )


def cached_rows(
    backbone: Backbone,
    definition: Mapping[str, object],
    seed: int,
    keys: KeyIndex,
    cache_root: Path | None = None,
) -> row_cache.CachedEmbeddings:
    """Return what the cache holds of a backbone in one view."""
    metadata = {"tower": backbone.fingerprint, "view": definition, "seed": seed, "decoding": cache.DECODING}
    entry = row_cache.open_entry(metadata, backbone.settings.model_dump(mode="json"), cache_root)
    return row_cache.CachedEmbeddings(entry, keys, backbone.dim)


def _co_extracted(
    others: list[BackboneSettings],
    loader: EncoderLoader,
    definitions: Mapping[str, Mapping[str, object]],
    seed: int,
    keys: KeyIndex,
    missing: NDArray[np.bool_],
    cache_root: Path | None,
) -> list[ExtractionTask]:
    """Return what other backbones lack of the images that must be decoded anyway."""
    tasks = []
    for settings in others:
        try:
            backbone = loader.load(settings, len(missing), cache_root is None)
            rows = {
                name: cached_rows(backbone, definition, seed, keys, cache_root)
                for name, definition in definitions.items()
            }
        except InputError as error:
            logger.warning("%s is not computed alongside: %s", settings.model, error)
            continue
        for name, cached in rows.items():
            mask = missing & ~cached.cached_mask
            tasks.append(ExtractionTask(name, backbone, cached.entry, mask, requested=False))
    return tasks


def _require_space(tasks: list[ExtractionTask], out: Path | None, num_values: int, dtype: str) -> None:
    num_bytes = 0
    for task in tasks:
        if num_rows := int(task.missing.sum()):
            task.entry.require_writable()
            num_bytes += num_rows * (task.backbone.dim * np.dtype(task.backbone.settings.dtype).itemsize + 64)
    bytes_by_path = {row_cache.embeddings_folder(): num_bytes}
    if out is not None:
        bytes_by_path[out.parent] = num_values * np.dtype(dtype).itemsize
    files.check_free_space(bytes_by_path)


def _attributes(
    settings: BackboneSettings | ConcatSettings,
    backbones: list[Backbone],
    definitions: Mapping[str, object],
    seed: int,
) -> dict[str, Any]:
    return {
        "backbone": settings.model_dump(mode="json"),
        "fingerprint": [backbone.fingerprint for backbone in backbones],
        "widths": [backbone.dim for backbone in backbones],
        "weights_sha256": [backbone.weights_sha256 for backbone in backbones],
        "weights_files": [backbone.weights_files for backbone in backbones],
        "preprocessing": [backbone.settings.preprocess.model_dump(mode="json") for backbone in backbones],
        "views": definitions,
        "seed": seed,
        "decoding": cache.DECODING,
        "versions": {"python": platform.python_version()} | package_versions(RECORDED_VERSIONS),
    }
