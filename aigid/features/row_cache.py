"""Embeddings cached by backbone, view and image, and shared between machines through a bucket, ``$AIGID_ROWS``.

A shard ``$AIGID_CACHE/embeddings/<backbone and view>/<sha256 of the file>.safetensors`` is named by its bytes and never
changes: damage shows, several processes may add shards at once, and to share it is to copy it.
"""

import errno
import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from aigid.core import cache
from aigid.core.cache import METADATA_FILE, SHARDS, CacheEntry, ShardWriter
from aigid.core.embeddings import DTYPES
from aigid.core.errors import InputError, os_errors
from aigid.core.files import atomic_write, cache_folder
from aigid.core.limits import MAX_SHARD_BYTES
from aigid.core.paths import READS, RemotePath, as_path
from aigid.core.shards import KEY, is_keyed, memory_map
from aigid.features.images import KeyIndex, Keys, pack

SCHEMA_VERSION = 1
SHARD_ROWS = 4096
SHARD_SECONDS = 300  # after which a slow backbone's shard is closed, so that a kill loses no more
CACHE_KIND = "embeddings"
ENV_VAR = "AIGID_ROWS"
logger = logging.getLogger(__name__)


class CachedEmbeddings:
    """The cached rows of a manifest: where each one lies; the rows themselves stay on disk."""

    def __init__(self, entry: CacheEntry, keys: KeyIndex, width: int | None = None) -> None:
        self.entry, self.width = entry, width
        self._keys = keys
        self._shards: dict[Path, int] = {}
        self._shard = np.full(len(keys.indices), -1, np.int32)
        self._row = np.zeros(len(keys.indices), np.int32)
        self._index()
        if entry.shared:
            names = remote_names(entry.folder)
            for path in self._shards:
                if path.name not in names:
                    upload(path)
            self._fetch_missing(names)

    def update(self) -> None:
        """Index new shards; where rows are missing yet, those too that other machines have sent."""
        self._index()
        if self.entry.shared and not self.cached_mask.all():
            self._fetch_missing(remote_names(self.entry.folder))

    def _fetch_missing(self, names: set[str]) -> None:
        if names and not self.cached_mask.all():
            download(self.entry.folder, names)
            self._index()

    def _index(self) -> None:
        """Index new shards of this machine; quarantine damaged ones."""
        for path in self.entry.shards():
            if path in self._shards:
                continue
            status = path.stat()
            verified = _verified_keys(path, status.st_size, status.st_mtime_ns)
            if verified is None or verified[1] != (self.width or verified[1]):
                cache.quarantine(path)
                continue
            key, _ = verified
            matches, at = self._keys.find(key)
            self._shard[at], self._row[at] = len(self._shards), matches
            self._shards[path] = len(self._shards)

    @property
    def cached_mask(self) -> NDArray[np.bool_]:
        """The manifest's rows that are cached, (N,) bool."""
        mask: NDArray[np.bool_] = (self._shard >= 0)[self._keys.indices]
        return mask

    def read(self, start: int, stop: int, out: NDArray[np.floating[Any]]) -> None:
        """Copy the cached ones of the manifest's rows ``start`` to ``stop`` into ``out`` (stop - start, D)."""
        indices = self._keys.indices[start:stop]
        shard, row, paths = self._shard[indices], self._row[indices], list(self._shards)
        for number in np.unique(shard[shard >= 0]):
            rows = np.flatnonzero(shard == number)
            out[rows] = memory_map(paths[number], "rows")[row[rows]]


class RowWriter(ShardWriter):
    """Writes shards of computed rows; each is uploaded while the next one is filled."""

    def __init__(self, entry: CacheEntry, computed_on: str = "", clock: Callable[[], float] = monotonic) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._uploads: deque[Future[None]] = deque()
        super().__init__(
            entry,
            max_rows=SHARD_ROWS,
            max_seconds=SHARD_SECONDS,
            metadata={"computed_on": computed_on},
            written=self._upload,
            clock=clock,
        )

    def _upload(self, path: Path) -> None:
        """Upload a shard of a shared entry in the background; InputError where one before it failed."""
        while self._uploads and self._uploads[0].done():
            self._uploads.popleft().result()
        if self.entry.shared:
            self._uploads.append(self._pool.submit(upload, path))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        with self._pool:
            for running in self._uploads:
                running.result()


def open_entry(
    metadata: Mapping[str, object], provenance: Mapping[str, object], root: Path | None = None
) -> CacheEntry:
    """Return the cache entry of a backbone and view; ``metadata`` holds all that decides its rows.

    ``provenance``, the settings of the backbone that fills it first, is recorded too but decides nothing. An entry
    below a ``root``, in place of ``$AIGID_CACHE``, is not shared.
    """
    folder = cache.entry_path(CACHE_KIND, {"schema_version": SCHEMA_VERSION, **metadata}, {"made_by": provenance}, root)
    version = cache.read_metadata(folder / METADATA_FILE).get("schema_version")
    if version != SCHEMA_VERSION:
        message = f"schema version {version}, this code reads {SCHEMA_VERSION}"
        raise InputError(f"cache {folder}: {message}; remove it, or let $AIGID_CACHE name another folder")
    return CacheEntry(folder, shared=root is None)


def warn_other_versions() -> None:
    """Warn once of cache entries that another schema version wrote, which are ignored."""
    files = embeddings_folder().glob(f"*/{METADATA_FILE}")
    versions = {str(cache.read_metadata(path).get("schema_version")) for path in files} - {str(SCHEMA_VERSION)}
    if versions:
        message = f"schema version {', '.join(sorted(versions))}, this code reads {SCHEMA_VERSION}"
        logger.warning("cache %s: holds rows of %s: they are computed again", cache_folder(), message)


def embeddings_folder() -> Path:
    """Return the folder of the cache entries of all backbones and views."""
    return cache_folder() / CACHE_KIND


@lru_cache(maxsize=256)
def _verified_keys(path: Path, size: int, mtime_ns: int) -> tuple[Keys, int] | None:
    """Return a shard's keys, packed, and its rows' width, read once while it is unchanged; None where it is damaged."""
    content = verify_shard(path)
    return None if content is None else (pack(content[0]), content[1].shape[1])


def verify_shard(path: Path) -> tuple[Keys, NDArray[np.floating[Any]]] | None:
    """Return ``key`` (n,) S64 and ``rows`` (n, D), finite, of a shard, or None where it is damaged or forged."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        return None
    try:
        arrays = load(content)
        key, rows = arrays["key"], arrays["rows"]
    except (SafetensorError, LookupError, ValueError, TypeError):
        return None
    if rows.ndim != 2 or rows.dtype not in DTYPES or not is_keyed(key, rows):
        return None
    return key.reshape(-1).view(KEY), rows


def remote_names(folder: Path) -> set[str]:
    """Return the names of the remote shards of an entry, none without ``$AIGID_ROWS``."""
    remote = remote_entry(folder)
    if remote is None:
        return set()
    with _remote_errors():
        return {name for name in remote.files() if fnmatch(name, SHARDS) and "/" not in name}


def download(folder: Path, names: set[str]) -> None:
    """Fetch those of the remote shards that an entry's ``folder`` lacks, but no damaged one."""
    if (remote := remote_entry(folder)) is None:
        return
    known = {path.stem for path in folder.glob(f"*{cache.CORRUPT_SUFFIX}")}  # what is forged was set aside before
    missing = [name for name in names if not (folder / name).exists() and Path(name).stem not in known]
    with _remote_errors(), ThreadPoolExecutor(READS) as pool:
        list(pool.map(lambda name: _fetch(remote / name, folder / name), missing))


def _fetch(remote: RemotePath, path: Path) -> None:
    try:
        content = remote.read_bytes(max_bytes=MAX_SHARD_BYTES)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        content = b""
    if hashlib.sha256(content).hexdigest() != path.stem:
        logger.warning("%s is damaged: passed over", remote)
        return
    with cache.cache_errors(), atomic_write(path) as part:
        part.write_bytes(content)


def upload(path: Path) -> None:
    """Copy a file of an entry to the bucket, if there is one."""
    if (remote := remote_entry(path.parent)) is not None:
        with _remote_errors():
            (remote / path.name).write_bytes(path.read_bytes())


def remote_entry(folder: Path) -> RemotePath | None:
    """Return where an entry is shared, or None without ``$AIGID_ROWS``."""
    text = os.environ.get(ENV_VAR)
    if not text:
        return None
    root = as_path(text)
    if not isinstance(root, RemotePath):
        raise InputError(f"{ENV_VAR}={text}: want an address (s3://...); a folder that all see can be $AIGID_CACHE")
    return root / folder.name


def _remote_errors() -> AbstractContextManager[None]:
    return os_errors(f"{ENV_VAR}={os.environ[ENV_VAR]}")
