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
from aigid.core import tables
from aigid.core.columns import BLOCK, cells, is_ascending
from aigid.core.errors import InputError
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
        prefix = self._key.view(">u8")[:: SIZE // 8].astype(np.uint64)
        self._order = np.argsort(prefix, kind="stable")  # much faster than of all bytes
        first = self._first_rows(prefix)
        number = np.cumsum(first, dtype=np.int32) - 1
        self.indices = np.empty(len(number), np.int32)
        self.indices[self._order] = self._order[first][number]

    def _first_rows(self, prefix: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of the rows in order have another image than the one before."""
        first, mixed = np.ones(len(prefix), bool), False
        for start in range(1, len(prefix), BLOCK):
            rows = self._order[start - 1 : start + BLOCK]
            first[start : start + BLOCK] = differ = self._key[rows[1:]] != self._key[rows[:-1]]
            mixed |= bool((differ & (prefix[rows[1:]] == prefix[rows[:-1]])).any())
        if mixed:  # images that agree in the first 8 bytes, which are not sorted yet
            self._order = np.argsort(self._key, kind="stable")
            return self._first_rows(np.arange(len(prefix), dtype=np.uint64))
        return first

    def find(self, key: Keys) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return which of ``key`` (n,) are in the manifest, and the first row of each of those."""
        packed = pack(key)
        at = np.searchsorted(self._key, packed, sorter=self._order)
        rows = self._order[np.minimum(at, len(self._key) - 1)]
        matches = np.flatnonzero(self._key[rows] == packed)
        return matches, rows[matches]


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
        """Return every ``step``-th image of a manifest from ``start`` on; the file is checked as the manifest is.

        It is read block by block where it is sorted and has no groups or roles, else in one.
        """
        paths, digests, last, num = Texts(), bytearray(), "", 0
        try:
            for names, block in tables.csv_blocks(path) if path.suffix == ".csv" and path.is_file() else ():
                if {"group", manifests.ROLE} & {*names} or len({*names}) < len(names):
                    break
                if not block:
                    continue
                index = range(num, num + len(block[0]))
                table = manifests.validate(
                    pd.DataFrame(dict(zip(names, block, strict=True)), index, dtype=object), str(path)
                )
                if not is_ascending(table["path"]) or table["path"].iloc[0] <= last:
                    break
                part = table[(start - num) % step :: step]
                paths.extend(cells(part["path"]))
                digests += cls.of(part).key.packed.tobytes()
                last, num = table["path"].iloc[-1], index.stop
            else:
                if num:
                    return cls(paths, Digests(np.frombuffer(digests, f"S{SIZE}")))
        except (InputError, LookupError):  # of which reading all says it as ever
            pass
        return cls.of(manifests.read(path).iloc[start::step])

    def __len__(self) -> int:
        return len(self.paths)

    def hash_unknown(self, root: AnyPath) -> None:
        """Fill in the keys that are not known, of the files."""
        unknown = np.flatnonzero(self.key.packed == b"")
        hashes = hash_files([str((root / self.paths[row]).absolute()) for row in unknown.tolist()])
        self.key.packed[unknown] = Digests(hashes).packed
