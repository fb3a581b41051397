"""The content-addressed cache ``$AIGID_CACHE/<kind>/<hash of the metadata>/``, with the metadata in ``about.json``.

Arrays by image are in shards that exist only when complete: ``<sha256>.safetensors`` holds ``key`` (n, 64) uint8, the
images' sha256 in hex, and ``rows`` (n, ...). Several processes may add shards at once.
"""

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from time import monotonic, time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from aigid.core.errors import os_errors, parse_json
from aigid.core.files import STALE_SECONDS, atomic_write, cache_folder, remove_stale, write_json, write_text
from aigid.core.shards import DIGEST_SUFFIX, KEY, is_intact, memory_map

METADATA_FILE = "about.json"
SHARDS = "[!.]*.safetensors"
CORRUPT_SUFFIX = ".damaged"  # of a shard that was set aside
DECODING = 2  # of pixels from image files, in the keys of all that is made of them; 1 ignored ICC profiles
CHECKPOINTS, CHECKPOINT_FORMAT = "training", 4  # the folder of unfinished trainings, and the number of their format
ORPHAN_DAYS = 7.0  # without a write, after which a checkpoint is taken for one that no run continues
logger = logging.getLogger(__name__)


def entry_path(
    kind: str, metadata: Mapping[str, object], extra: Mapping[str, object] | None = None, root: Path | None = None
) -> Path:
    """Return the folder for what ``metadata`` decides, which is written into it; InputError where that fails.

    ``extra`` is written too by whoever comes first, and decides nothing. ``root`` stands in for ``$AIGID_CACHE``.
    """
    folder = (root or cache_folder()) / kind / metadata_hash(metadata)
    with cache_errors():
        written, decided = read_metadata(folder / METADATA_FILE), json.loads(json.dumps(metadata))
        if not written or any(written.get(name, "") != decided[name] for name in decided if name != "schema_version"):
            write_json(folder / METADATA_FILE, {**metadata, **(extra or {})})  # for the first time, or it is damaged
    return folder


def metadata_hash(metadata: Mapping[str, object]) -> str:
    """Return the name of the folder of ``metadata``."""
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()[:32]


def checkpoint_path(run: str, metadata: object) -> Path:
    """Return the checkpoint of a training; ``metadata`` holds all that decides it, but not the machine or processes."""
    name = f"{re.sub('[^a-zA-Z0-9.-]+', '-', run)}_{CHECKPOINT_FORMAT}_{version('torch')}"
    digest = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()[:32]
    return cache_folder() / CHECKPOINTS / f"{name}_{digest}.pt"


def checkpoints(days: float = ORPHAN_DAYS) -> list[dict[str, Any]]:
    """Return run, bytes, age in days of each checkpoint, and why it is an ``orphan``: "" where a run may continue it.

    A run removes its checkpoint when its result is saved. What a killed write has left counts as one after a day.
    """
    rows, current = [], f"_{CHECKPOINT_FORMAT}_{version('torch')}_"
    folder = cache_folder() / CHECKPOINTS
    for path in sorted([*folder.glob("*.pt"), *folder.glob(f"*{CORRUPT_SUFFIX}")]):
        try:
            status = path.stat()
        except FileNotFoundError:  # a write has ended
            continue
        age = (time() - status.st_mtime) / 86400
        old = f"not written for {days:g} days" if age >= days else ""
        reason = old if current in path.name else "of another version of torch or of aigid"
        if path.name.startswith("."):
            reason = "left by a write that was killed" if age * 86400 > STALE_SECONDS else ""
        if path.suffix == CORRUPT_SUFFIX:
            reason = "damaged"
        row = {"path": str(path), "run": path.stem.lstrip(".").split("_")[0], "bytes": status.st_size, "days": age}
        rows.append(row | {"orphan": reason})
    return rows


def cache_errors() -> AbstractContextManager[None]:
    """Turn an OSError within the context into an InputError that names the variable of the cache."""
    return os_errors(f"cache {cache_folder()}", "; $AIGID_CACHE names another folder")


@dataclass(frozen=True)
class CacheEntry:
    """The shards of one folder; ``shared`` ones may be copied to and from other machines."""

    folder: Path
    shared: bool = True

    def shards(self) -> list[Path]:
        """Return the complete shards, in a fixed order."""
        return sorted(self.folder.glob(SHARDS))

    def add(
        self, key: NDArray[np.bytes_], rows: NDArray[Any], metadata: dict[str, str] | None = None, by_key: bool = False
    ) -> Path:
        """Write a shard, ``key`` (n,) S64 and ``rows`` (n, ...), named by its bytes' hash or that of its keys alone.

        The bytes' hash then lies beside it.
        """
        content = save({"key": key.view(np.uint8).reshape(len(key), -1), "rows": rows}, metadata)
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / f"{hashlib.sha256(key.tobytes()).hexdigest() if by_key else digest}.safetensors"
        with cache_errors():
            if by_key:
                write_text(path.with_suffix(DIGEST_SUFFIX), digest)
            with atomic_write(path) as part:
                part.write_bytes(content)
        return path

    def verified_shards(self) -> list[Path]:
        """Return the complete shards whose bytes are those that were written; others are quarantined."""
        paths = self.shards()
        for path in paths:
            status = path.stat()
            if not is_intact(path, status.st_size, status.st_mtime_ns):
                quarantine(path)
        return [path for path in paths if path.exists()]

    def require_writable(self) -> None:
        """Raise InputError where no shard could be added; delete what killed writers left."""
        remove_stale(self.folder.glob(".*.safetensors"))
        with cache_errors(), tempfile.TemporaryFile(dir=self.folder):
            pass


class StoredArrays:
    """The arrays of an entry by their images' sha256: one memory map a shard, and a row number an image."""

    def __init__(self, entry: CacheEntry) -> None:
        paths = entry.verified_shards()
        self._shards = [memory_map(path, "rows") for path in paths]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        keys = [np.ascontiguousarray(memory_map(path, "key")).view(KEY).ravel().astype(str).tolist() for path in paths]
        self._numbers = {key: number for number, key in enumerate(chain.from_iterable(keys))}

    def __contains__(self, key: str) -> bool:
        return key in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: str) -> NDArray[Any]:
        shard = int(np.searchsorted(self._starts, self._numbers[key], side="right")) - 1
        array: NDArray[Any] = self._shards[shard][self._numbers[key] - self._starts[shard]]
        return array


class ShardWriter:
    """Collect rows, and write a shard when it is full and when the context ends, by an exception too.

    A shard is full at ``max_rows`` or ``max_bytes``, or after ``max_seconds``; ``written`` is called with its path.
    """

    def __init__(
        self,
        entry: CacheEntry,
        *,
        max_rows: float = np.inf,
        max_bytes: float = np.inf,
        max_seconds: float = np.inf,
        metadata: dict[str, str] | None = None,
        by_key: bool = False,
        written: Callable[[Path], object] = lambda path: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.entry, self.max_rows, self.max_bytes, self.max_seconds = entry, max_rows, max_bytes, max_seconds
        self.metadata, self.by_key, self.written, self._clock = metadata, by_key, written, clock
        self._key: list[bytes | str] = []
        self._rows: list[NDArray[Any]] = []
        self._opened = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, key: bytes | str, row: NDArray[Any]) -> None:
        if not self._key:
            self._opened = self._clock()
        self._key.append(key)
        self._rows.append(row)
        num = len(self._key)
        late = self._clock() - self._opened >= self.max_seconds
        if num >= self.max_rows or num * row.nbytes >= self.max_bytes or late:
            self.flush()

    def flush(self) -> None:
        if self._key:
            self.written(self.entry.add(np.array(self._key, KEY), np.stack(self._rows), self.metadata, self.by_key))
            self._key, self._rows = [], []


def read_metadata(path: Path) -> dict[str, Any]:
    """Return a folder's metadata; empty where they cannot be read."""
    try:
        metadata = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def quarantine(path: Path) -> None:
    """Rename a damaged shard, so that its rows count as missing."""
    logger.warning("%s is damaged: set aside, its rows are computed again", path)
    try:
        path.rename(path.with_suffix(CORRUPT_SUFFIX))
    except OSError:  # a cache that only others may change
        logger.warning("%s cannot be renamed: passed over", path)
