"""The row cache: embeddings by tower, view and image, in shards that exist only when whole.

``$AIGID_CACHE/embeddings/<tower and view>/<sha256 of the file>.safetensors`` holds ``key`` (n, 64) uint8, the images'
sha256 in hex, and ``rows`` (n, D). A shard is named by the hash of its bytes, so damage shows, and several processes
may add shards at once: a row that stands in two of them stands there twice the same. With ``$AIGID_ROWS`` other
machines have it, too, and theirs are here (``aigid.features.remote_cache``).
"""

import hashlib
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import monotonic

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from aigid.core.cache import (
    KEY,
    METADATA_FILE,
    SHARDS,
    CacheEntry,
    ShardWriter,
    entry_path,
    memory_map,
    quarantine,
    read_metadata,
)
from aigid.core.errors import InputError
from aigid.core.files import cache_folder
from aigid.features import remote_cache

SCHEMA_VERSION = 1
SHARD_ROWS = 4096
SHARD_SECONDS = 300  # a slow tower's shard is closed after that long, so that a kill loses no more
CACHE_KIND = "embeddings"
logger = logging.getLogger(__name__)


class KeyIndex:
    """The images of a manifest, for looking them up in shards; several rows may be the same image."""

    def __init__(self, key: np.ndarray) -> None:
        self.distinct, self.places = np.unique(key, return_inverse=True)

    def __len__(self) -> int:
        return len(self.places)

    def find(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of ``key`` (n,) are wanted, and where each of those stands in ``distinct``."""
        at = np.minimum(np.searchsorted(self.distinct, key), len(self.distinct) - 1)
        wanted = np.flatnonzero(self.distinct[at] == key)
        return wanted, at[wanted]


class CachedEmbeddings:
    """The rows of a shelf that belong to a manifest: where each one stands, and nothing of it in memory."""

    def __init__(self, shelf: CacheEntry, keys: KeyIndex) -> None:
        self.shelf = shelf
        self._keys = keys
        self._shards: list[Path] = []
        self._seen: set[Path] = set()
        self._shard = np.full(len(keys.distinct), -1, np.int32)
        self._row = np.zeros(len(keys.distinct), np.int32)
        self.update()

    def update(self) -> None:
        """Look at the shards that are new; a damaged one is set aside, so that its rows count as missing.

        Others' are fetched before, and those that others lack are sent.
        """
        theirs = remote_cache.download(self.shelf.folder, SHARDS) if self.shelf.shared else set()
        for path in self.shelf.shards():
            if path in self._seen:
                continue
            status = path.stat()
            key = _verified_keys(path, status.st_size, status.st_mtime_ns)
            if key is None:
                quarantine(path)
                continue
            self._seen.add(path)
            wanted, at = self._keys.find(key)
            self._shard[at], self._row[at] = len(self._shards), wanted
            self._shards.append(path)
            if self.shelf.shared and path.name not in theirs:
                remote_cache.upload(path)

    @property
    def have(self) -> np.ndarray:
        """(N,) bool: the manifest's rows that are cached."""
        return (self._shard >= 0)[self._keys.places]

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Put the cached ones of the manifest's rows ``start`` to ``stop`` into ``out`` (stop - start, D)."""
        places = self._keys.places[start:stop]
        shard, row = self._shard[places], self._row[places]
        for number in np.unique(shard[shard >= 0]):
            here = np.flatnonzero(shard == number)
            out[here] = memory_map(self._shards[number], "rows")[row[here]]


class RowWriter(ShardWriter):
    """Writes the shards of computed rows; where rows are shared, others get one while the next is filled."""

    def __init__(self, entry: CacheEntry, computed_on: str = "", clock: Callable[[], float] = monotonic) -> None:
        self._send = remote_cache.Uploader()
        send = self._send if entry.shared else lambda path: None
        metadata, limits = {"computed_on": computed_on}, {"max_rows": SHARD_ROWS, "max_seconds": SHARD_SECONDS}
        super().__init__(entry, **limits, metadata=metadata, written=send, clock=clock)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._send.close()


def open_entry(about: dict[str, object], made_by: dict[str, object], root: Path | None = None) -> CacheEntry:
    """The shelf of a tower and view; ``about`` holds all that decides its rows, and is written beside them.

    ``made_by``, the settings of the tower that is first to fill the shelf, is written too but decides nothing. A
    shelf below a ``root`` of its own, in place of ``$AIGID_CACHE``, is shared with nobody.
    """
    folder = entry_path(CACHE_KIND, {"schema_version": SCHEMA_VERSION} | about, {"made_by": made_by}, root)
    version = read_metadata(folder / METADATA_FILE).get("schema_version")
    if version != SCHEMA_VERSION:
        reads = f"schema version {version}, this code reads {SCHEMA_VERSION}"
        raise InputError(f"cache {folder}: {reads}; remove it, or let $AIGID_CACHE name another folder")
    return CacheEntry(folder, shared=root is None)


def warn_other_versions() -> None:
    """One line for the shelves that another version of this code wrote, and that are passed over."""
    versions = [read_metadata(path).get("schema_version") for path in embeddings_folder().glob(f"*/{METADATA_FILE}")]
    others = sorted({str(version) for version in versions if version != SCHEMA_VERSION})
    if others:
        reads = f"schema version {', '.join(others)}, this code reads {SCHEMA_VERSION}"
        logger.warning("cache %s: holds rows of %s: they are computed again", cache_folder(), reads)


def embeddings_folder() -> Path:
    """The folder of the shelves."""
    return cache_folder() / CACHE_KIND


@lru_cache(maxsize=256)
def _verified_keys(path: Path, size: int, mtime_ns: int) -> np.ndarray | None:
    """Return the keys of a shard, read once as long as it is unchanged; None where it is damaged."""
    content = verify_shard(path)
    return None if content is None else content[0].copy()


def verify_shard(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """``key`` (n,) S64 and ``rows`` (n, D) of a shard, or None where it is not what was written."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        return None
    try:
        arrays = load(content)
    except SafetensorError:
        return None
    return arrays["key"].reshape(-1).view(KEY), arrays["rows"]
