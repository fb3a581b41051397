"""A backbone whose width and fingerprint an earlier load has left in the cache: loaded only if it must embed."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigid.core import cache, files
from aigid.core.errors import InputError, package_versions
from aigid.core.params import Settings, validate
from aigid.features import weights
from aigid.features.backbones import LARGEST_BATCH, Backbone, BackboneSettings, fingerprint, open_backbone
from aigid.features.preprocess import Pixels

CACHE_KIND = "backbones"
PACKAGES = ("numpy", "onnxruntime", "open_clip_torch", "timm", "torch", "torchvision", "transformers")


class BackboneRecord(Settings):
    """What loading a backbone has shown."""

    settings: BackboneSettings  # as its library resolved them
    dim: int
    weights_sha256: str
    weights_files: dict[str, str]


class DeferredBackbone:
    """A ``Backbone`` by its record, from which a warm cache is put together; everything else loads it.

    Raises:
        InputError: loaded, it is another backbone than its record says; the record is removed.
    """

    threaded: bool
    batch: int

    def __init__(self, requested: BackboneSettings, record: BackboneRecord, path: Path) -> None:
        self.settings, self.dim = record.settings, record.dim
        self.weights_sha256, self.weights_files = record.weights_sha256, record.weights_files
        self.fingerprint = fingerprint(record.settings, record.weights_sha256)
        self._requested, self._path = requested, path
        self._batch_arguments: tuple[int | None, int, int] = (None, 1, LARGEST_BATCH)

    @cached_property
    def _backbone(self) -> Backbone:
        backbone = open_backbone(self._requested)
        if backbone.fingerprint != self.fingerprint:
            self._path.unlink(missing_ok=True)
            raise InputError(f"{self._path}: is of another {self._requested.model}: removed; run again")
        backbone.choose_batch(*self._batch_arguments)
        return backbone

    def choose_batch(self, requested: int | None, num_images: int, largest: int) -> None:
        """Set the batch of the backbone, now or when it is loaded."""
        self._batch_arguments = (requested, num_images, largest)
        if "_backbone" in vars(self):
            self._backbone.choose_batch(*self._batch_arguments)

    def __getattr__(self, name: str) -> Any:
        """Load the backbone for ``batch``, ``threaded`` and what else is not recorded."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._backbone, name)

    def encode(self, images: Pixels) -> NDArray[np.float32]:
        """Embed (N, S, S, 3) uint8 as (N, D)."""
        return self._backbone.encode(images)

    def encode_async(self, images: Pixels) -> Callable[[], NDArray[np.float32]]:
        """Start ``encode`` and return a function that waits for its embeddings."""
        return self._backbone.encode_async(images)


def load_backbone(settings: BackboneSettings) -> Backbone:
    """Return the backbone by its record in ``$AIGID_CACHE/backbones``, else load it and record what it is.

    The record's name is a hash of the settings, the bytes of all files of weights, this package's code and its
    libraries' versions. Weights of a hub, and a precision that the CPU decides, are not recorded.
    """
    path = _record_path(settings)
    if path is not None and (record := _read(path)) is not None:
        return DeferredBackbone(settings, record, path)
    backbone = open_backbone(settings)
    if path is not None:
        names = BackboneRecord.model_fields.keys() - {"settings"}
        record = BackboneRecord(settings=backbone.settings, **{name: getattr(backbone, name) for name in names})
        content = record.model_dump(mode="json")
        with suppress(OSError):  # it saves time alone
            files.write_json(path, {"record": content, "checksum": cache.metadata_hash(content)})
    return backbone


def _record_path(settings: BackboneSettings) -> Path | None:
    paths = [weights.path_of(settings), settings.adapter]
    if settings.precision == "auto" or (paths[0] is None and settings.config is None):
        return None
    if any(path is not None and not Path(path).exists() for path in paths):
        return None  # its library says what is missing
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    metadata = {
        "settings": settings.model_dump(mode="json"),
        "weights": [weights.file_digests(path) for path in paths],
        "code": [weights.file_digest(path) for path in sources],
        "versions": {"python": sys.version} | package_versions(PACKAGES),
    }
    return files.cache_folder() / CACHE_KIND / f"{cache.metadata_hash(metadata)}.json"


def _read(path: Path) -> BackboneRecord | None:
    """Return a record, or None where there is none or it is damaged."""
    content = cache.read_metadata(path)
    if not isinstance(content.get("record"), dict) or cache.metadata_hash(content["record"]) != content.get("checksum"):
        return None
    with suppress(InputError):
        return validate(content["record"], BackboneRecord, str(path))
    return None
