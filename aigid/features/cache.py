"""The row cache: embeddings by tower, view and image, in shards that exist only when whole.

``$AIGID_CACHE/embeddings/<tower and view>/<sha256 of the file>.safetensors`` holds ``key`` (n, 64) uint8, the images'
sha256 in hex, and ``rows`` (n, D). A shard is named by the hash of its bytes, so damage shows, and several processes
may add shards at once: a row that stands in two of them stands there twice the same.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aigid.errors import InputError
from aigid.files import atomic, cache_folder, write_json

SCHEMA_VERSION = 1
SHARD_ROWS = 4096
ABOUT = "about.json"
DAMAGED = ".damaged"  # behind the name of a shard that was set aside
KEY = "S64"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """The cached rows of one tower in one view."""

    folder: Path

    def fill(self, key: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Put the rows that are cached into ``out`` (N, D); returns (N,) bool, which they are.

        A damaged shard is renamed, so that its rows count as missing.
        """
        wanted, places = np.unique(key, return_inverse=True)
        found = np.zeros(len(key), bool)
        for path in self.shards():
            content = check(path)
            if content is None:
                LOG.warning("%s is damaged: set aside, its rows are computed again", path)
                path.rename(path.with_suffix(DAMAGED))
                continue
            have, rows = content
            at = np.minimum(np.searchsorted(wanted, have), len(wanted) - 1)
            source = np.full(len(wanted), -1)
            source[at[wanted[at] == have]] = np.flatnonzero(wanted[at] == have)
            source = source[places]
            out[source >= 0] = rows[source[source >= 0]]
            found |= source >= 0
        return found

    def shards(self) -> list[Path]:
        """The whole shards, in a fixed order."""
        return sorted(self.folder.glob("[!.]*.safetensors"))

    def add(self, key: np.ndarray, rows: np.ndarray) -> None:
        """Write one shard: ``key`` (n,) S64 and ``rows`` (n, D)."""
        content = save({"key": key.view(np.uint8).reshape(len(key), -1), "rows": rows})
        with atomic(self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors") as part:
            part.write_bytes(content)


class Writer:
    """Collects computed rows for a shelf, and writes a shard whenever one is full and at the end, however it comes."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._key: list[bytes] = []
        self._rows: list[np.ndarray] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def add(self, key: bytes, row: np.ndarray) -> None:
        """Keep one row (D,)."""
        self._key.append(key)
        self._rows.append(row)
        if len(self._key) == SHARD_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._key:
            self.shelf.add(np.array(self._key, KEY), np.stack(self._rows))
            self._key, self._rows = [], []


def shelf(about: dict[str, object], made_by: dict[str, object]) -> Shelf:
    """The shelf of a tower and view; ``about`` holds all that decides its rows, and is written beside them.

    ``made_by``, the settings of the tower that is first to fill the shelf, is written too but decides nothing.
    """
    about = {"schema_version": SCHEMA_VERSION} | about
    folder = embeddings_folder() / shelf_name(about)
    try:
        if not (folder / ABOUT).exists():
            write_json(folder / ABOUT, about | {"made_by": made_by})
    except OSError as error:
        raise InputError(f"cache {cache_folder()}: {error.strerror}; $AIGID_CACHE names another folder") from None
    return Shelf(folder)


def embeddings_folder() -> Path:
    """The folder of the shelves."""
    return cache_folder() / "embeddings"


def shelf_name(about: dict[str, object]) -> str:
    """The folder's name that a shelf's ``about`` gives it."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


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
