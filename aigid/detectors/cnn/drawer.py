"""A cache of 8-bit pictures by image, in shards that exist only when whole and are read through memory maps.

``$AIGID_CACHE/channels/<what they are>/<sha256 of the keys>.safetensors`` holds ``key`` (n, 64) uint8, the images'
sha256 in hex, and ``rows`` (n, S, S, C) uint8. Several processes may add shards at once.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import save_file

from aigid.base.files import atomic
from aigid.base.shelves import folder_of

REVISION = 1  # of the channels' bytes; raise it when any gives other bytes than before
SHARD_BYTES = 1 << 28


@dataclass(frozen=True)
class Drawer:
    """The cached pictures of one channel in one view."""

    folder: Path

    def pictures(self) -> dict[str, np.ndarray]:
        """Every picture (S, S, C) by its image's sha256, on disk until it is looked at."""
        found = {}
        for path in sorted(self.folder.glob("[!.]*.safetensors")):
            key, rows = (_map(path, name) for name in ("key", "rows"))
            found |= zip(np.ascontiguousarray(key).view("S64").ravel().astype(str).tolist(), rows, strict=True)
        return found

    def add(self, keys: list[str], rows: list[np.ndarray]) -> None:
        """Write one shard."""
        key = np.array(keys, "S64").view(np.uint8).reshape(len(keys), -1)
        with atomic(self.folder / f"{hashlib.sha256(key).hexdigest()}.safetensors") as part:
            save_file({"key": key, "rows": np.stack(rows)}, part)


class Writer:
    """Collects pictures and writes a shard whenever one is full and at the end, however it comes."""

    def __init__(self, drawer: Drawer) -> None:
        self.drawer = drawer
        self._keys: list[str] = []
        self._rows: list[np.ndarray] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def add(self, key: str, row: np.ndarray) -> None:
        """Keep one picture (S, S, C)."""
        self._keys.append(key)
        self._rows.append(row)
        if len(self._rows) * row.nbytes >= SHARD_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._keys:
            self.drawer.add(self._keys, self._rows)
            self._keys, self._rows = [], []


def drawer(about: dict[str, object]) -> Drawer:
    """The drawer of a channel; ``about`` holds all that decides its pictures, and is written beside them."""
    return Drawer(folder_of("channels", {"revision": REVISION} | about))


def _map(path: Path, name: str) -> np.memmap:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, np.uint8, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))
