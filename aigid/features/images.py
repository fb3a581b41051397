"""The images of a manifest by path and sha256, in a hundred bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import manifest as manifests
from aigid.core.columns import BLOCK, cells
from aigid.core.paths import AnyPath
from aigid.core.shards import KEY, KEY_CHARS
from aigid.core.texts import Texts
from aigid.images.hashing import hash_files

Keys = NDArray[np.bytes_]
SIZE = KEY_CHARS // 2  # bytes of a digest
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


class Digests:
    """Keys (N,), of half the bytes; indexed as an array it gives the keys (n,) S64, b"" where one is not known."""

    def __init__(self, key: Sequence[str] | Keys) -> None:
        """Take keys as an array or a column of texts, or as they are packed."""
        if isinstance(key, np.ndarray) and key.dtype == f"S{SIZE}":
            self.packed = key
            return
        self.packed = np.zeros(len(key), f"S{SIZE}")
        for start in range(0, len(self), BLOCK):
            self.packed[start : start + BLOCK] = pack(np.asarray(key[start : start + BLOCK]).astype(KEY))

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: Any) -> Any:
        rows = self.packed.view(np.uint8).reshape(-1, SIZE)[index]
        digest = rows.reshape(-1, SIZE)
        key = np.stack([HEX[digest >> 4], HEX[digest & 15]], axis=2).reshape(-1, KEY_CHARS)
        key[~digest.any(axis=1)] = 0
        return key.view(KEY).ravel() if rows.ndim > 1 else key.view(KEY)[0, 0]


def pack(key: Keys) -> Keys:
    """Return the bytes (n,) S32 that hex digits (n,) S64 stand for."""
    digits = np.ascontiguousarray(key).view(np.uint8).reshape(-1, KEY_CHARS)
    values = (digits & 15) + 9 * (digits >> 6)
    return np.ascontiguousarray(values[:, ::2] << 4 | values[:, 1::2]).view(f"S{SIZE}").ravel()


class KeyIndex:
    """The images of a manifest, for looking them up in shards; several rows may be the same image.

    ``indices`` (N,) is the first row with each row's image.
    """

    def __init__(self, key: Keys | Digests) -> None:
        self._key = (key if isinstance(key, Digests) else Digests(key)).packed
        prefix = _prefixes(self._key)
        self._order = np.argsort(prefix, kind="stable").astype(np.int32)  # much faster than of all bytes
        self._prefix: NDArray[np.uint64] | None = prefix[self._order]
        first = self._first_rows(self._prefix)
        number = np.cumsum(first, dtype=np.int32) - 1
        self.indices = np.empty(len(number), np.int32)
        self.indices[self._order] = self._order[first][number]

    def _first_rows(self, prefix: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of the rows in order have another image than the one before; ``prefix`` is in order, too."""
        first, mixed = np.ones(len(prefix), bool), False
        for start in range(1, len(prefix), BLOCK):
            rows, part = self._order[start - 1 : start + BLOCK], prefix[start - 1 : start + BLOCK]
            first[start : start + BLOCK] = differ = self._key[rows[1:]] != self._key[rows[:-1]]
            mixed |= bool((differ & (part[1:] == part[:-1])).any())
        if mixed:  # images that agree in the first 8 bytes, which are not sorted yet
            self._order, self._prefix = np.argsort(self._key, kind="stable").astype(np.int32), None
            return self._first_rows(np.arange(len(prefix), dtype=np.uint64))
        return first

    def find(self, packed: Keys) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Return which of ``packed`` keys (n,) are in the manifest, and the first row of each of those."""
        if self._prefix is None:
            at = np.searchsorted(self._key, packed, sorter=self._order)
        else:
            prefix = _prefixes(packed)
            order = np.argsort(prefix)  # so that what is near each other is looked up together
            at = np.empty(len(packed), np.intp)
            at[order] = np.searchsorted(self._prefix, prefix[order])
        rows = self._order[np.minimum(at, len(self._key) - 1)]
        matches = np.flatnonzero(self._key[rows] == packed)
        return matches, rows[matches]


def _prefixes(packed: Keys) -> NDArray[np.uint64]:
    """Return the first 8 bytes of keys (N,), as numbers in the keys' order."""
    return packed.view(">u8")[:: SIZE // 8].astype(np.uint64)


@dataclass(frozen=True)
class Images:
    """The images of a manifest; all that extraction needs of it."""

    paths: Sequence[str]
    key: Digests

    @classmethod
    def of(cls, manifest: pd.DataFrame | Images) -> Images:
        """Return the images of a manifest; the keys of those without ``sha256`` are not known."""
        if isinstance(manifest, Images):
            return manifest
        paths: Any = manifest["path"].array
        return cls(paths, Digests(manifest["sha256"].array if "sha256" in manifest else [""] * len(manifest)))

    @classmethod
    def read(cls, path: Path, start: int = 0, step: int = 1) -> Images:
        """Return every ``step``-th image of a manifest from ``start`` on, of which some are read at a time."""
        paths, digests, num = Texts(), bytearray(), 0
        for table in manifests.blocks(path):
            part = table[(start - num) % step :: step]
            paths.extend(cells(part["path"]))
            digests += cls.of(part).key.packed.tobytes()
            num += len(table)
        return cls(paths, Digests(np.frombuffer(digests, f"S{SIZE}")))

    def __len__(self) -> int:
        return len(self.paths)

    def hash_unknown(self, root: AnyPath) -> None:
        """Fill in the keys that are not known, of the files."""
        unknown = np.flatnonzero(self.key.packed == b"")
        hashes = hash_files([str((root / self.paths[row]).absolute()) for row in unknown.tolist()])
        self.key.packed[unknown] = Digests(hashes).packed
