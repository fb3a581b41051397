"""The row cache: embeddings by tower, view and image, in shards that exist only when whole.

``$AIGID_CACHE/embeddings/<tower and view>/<sha256 of the file>.safetensors`` holds ``key`` (n, 64) uint8, the images'
sha256 in hex, and ``rows`` (n, D). A shard is named by the hash of its bytes, so damage shows, and several processes
may add shards at once: a row that stands in two of them stands there twice the same. With ``$AIGID_ROWS`` other
machines have it, too, and theirs are here (``aigid.features.sharing``).
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aigid.base.errors import InputError
from aigid.base.files import atomic, cache_folder, sweep
from aigid.base.shelves import ABOUT, folder_of, writing
from aigid.features import sharing

SCHEMA_VERSION = 1
SHARD_ROWS = 4096
SHARD_SECONDS = 300  # a slow tower's shard is closed after that long, so that a kill loses no more
KIND = "embeddings"
SHARDS = "[!.]*.safetensors"
DAMAGED = ".damaged"  # behind the name of a shard that was set aside
KEY = "S64"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """The cached rows of one tower in one view."""

    folder: Path

    def shards(self) -> list[Path]:
        """The whole shards, in a fixed order."""
        return sorted(self.folder.glob(SHARDS))

    def add(self, key: np.ndarray, rows: np.ndarray, computed_on: str = "") -> Path:
        """Write one shard: ``key`` (n,) S64 and ``rows`` (n, D)."""
        arrays = {"key": key.view(np.uint8).reshape(len(key), -1), "rows": rows}
        content = save(arrays, {"computed_on": computed_on})
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        with writing(), atomic(path) as part:
            part.write_bytes(content)
        return path

    def require_writable(self) -> None:
        """InputError where no shard could be added; what killed writers left is cleared away."""
        sweep(self.folder, ".*.safetensors")
        with writing(), tempfile.TemporaryFile(dir=self.folder):
            pass


class Keys:
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


class Rows:
    """The rows of a shelf that belong to a manifest: where each one stands, and nothing of it in memory."""

    def __init__(self, shelf: Shelf, keys: Keys) -> None:
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
        theirs = sharing.fetch(self.shelf.folder, SHARDS)
        for path in self.shelf.shards():
            if path in self._seen:
                continue
            content = check(path)
            if content is None:
                _set_aside(path)
                continue
            self._seen.add(path)
            wanted, at = self._keys.find(content[0])
            self._shard[at], self._row[at] = len(self._shards), wanted
            self._shards.append(path)
            if path.name not in theirs:
                sharing.send(path)

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
            out[here] = _mapped(self._shards[number])[row[here]]


class Writer:
    """Collects computed rows for a shelf, and writes a shard when one is full and at the end, however it comes.

    Where rows are shared, others get it while the next is filled.
    """

    def __init__(self, shelf: Shelf, computed_on: str = "", clock: Callable[[], float] = monotonic) -> None:
        self.shelf = shelf
        self.computed_on = computed_on
        self._clock = clock
        self._key: list[bytes] = []
        self._rows: list[np.ndarray] = []
        self._opened = clock()
        self._send = sharing.Sender()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._send.close()

    def add(self, key: bytes, row: np.ndarray) -> None:
        """Keep one row (D,)."""
        if not self._key:
            self._opened = self._clock()
        self._key.append(key)
        self._rows.append(row)
        if len(self._key) == SHARD_ROWS or self._clock() - self._opened >= SHARD_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._key:
            self._send(self.shelf.add(np.array(self._key, KEY), np.stack(self._rows), self.computed_on))
            self._key, self._rows = [], []


def shelf(about: dict[str, object], made_by: dict[str, object]) -> Shelf:
    """The shelf of a tower and view; ``about`` holds all that decides its rows, and is written beside them.

    ``made_by``, the settings of the tower that is first to fill the shelf, is written too but decides nothing.
    """
    folder = folder_of(KIND, {"schema_version": SCHEMA_VERSION} | about, {"made_by": made_by})
    version = read_about(folder / ABOUT).get("schema_version")
    if version != SCHEMA_VERSION:
        reads = f"schema version {version}, this code reads {SCHEMA_VERSION}"
        raise InputError(f"cache {folder}: {reads}; remove it, or let $AIGID_CACHE name another folder")
    return Shelf(folder)


def tell_other_versions() -> None:
    """One line for the shelves that another version of this code wrote, and that are passed over."""
    versions = [read_about(path).get("schema_version") for path in embeddings_folder().glob(f"*/{ABOUT}")]
    others = sorted({str(version) for version in versions if version != SCHEMA_VERSION})
    if others:
        reads = f"schema version {', '.join(others)}, this code reads {SCHEMA_VERSION}"
        LOG.warning("cache %s: holds rows of %s: they are computed again", cache_folder(), reads)


def embeddings_folder() -> Path:
    """The folder of the shelves."""
    return cache_folder() / KIND


def read_about(path: Path) -> dict[str, object]:
    """What a shelf says of itself; empty where that cannot be read."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def check(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """``key`` (n,) S64 and ``rows`` (n, D) of a shard, or None where it is not what was written."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        return None
    try:
        arrays = load(content)
    except SafetensorError:
        return None
    return arrays["key"].reshape(-1).view(KEY), arrays["rows"]


def header(path: Path) -> tuple[dict, int]:
    """A shard's table of contents, and where its data start; ValueError, LookupError and more where it has none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def _mapped(path: Path) -> np.ndarray:
    """The rows (n, D) of a shard that was checked, left on disk."""
    table, start = header(path)
    entry = table["rows"]
    dtype = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
    return np.memmap(path, dtype, "r", start + entry["data_offsets"][0], tuple(entry["shape"]))


def _set_aside(path: Path) -> None:
    LOG.warning("%s is damaged: set aside, its rows are computed again", path)
    try:
        path.rename(path.with_suffix(DAMAGED))
    except OSError:  # a cache that only others may change
        LOG.warning("%s cannot be renamed: passed over", path)
