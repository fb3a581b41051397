"""The file of a shard: ``key`` (n, 64) uint8, the images' sha256 in hex, and ``rows`` (n, ...), left on disk."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigid.core.files import sha256

DIGEST_SUFFIX = ".sha256"  # of the file with the hash of a shard that is named by its keys
KEY, KEY_CHARS = "S64", 64
DTYPES = {"F16": np.float16, "F32": np.float32, "U8": np.uint8}


@lru_cache(maxsize=4096)
def is_intact(path: Path, _size: int, _mtime: int) -> bool:
    """Return whether a shard has the hash that lies beside it, if any, and keys for its rows; read once for each."""
    try:
        digest = path.with_suffix(DIGEST_SUFFIX)
        if digest.exists() and sha256(path) != digest.read_text(encoding="utf-8"):
            return False
        key, rows = memory_map(path, "key"), memory_map(path, "rows")
    except (OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError):
        return False
    return is_keyed(key, rows)


def is_keyed(key: NDArray[Any], rows: NDArray[Any]) -> bool:
    """Return whether ``key`` (n, 64) uint8 holds hex digits for each of ``rows`` (n, ...), all finite."""
    if key.dtype != np.uint8 or key.ndim != 2 or key.shape[1] != KEY_CHARS or not len(key) == len(rows) > 0:
        return False
    finite = rows.dtype.kind != "f" or bool(np.isfinite(rows).all())
    return finite and not set(np.unique(key).tolist()) - set(b"0123456789abcdef")


def shard_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a shard's table of contents and where its data start; ValueError, LookupError or OSError without one."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path}: its head ends beyond it")
        return json.loads(file.read(length)), 8 + length


def memory_map(path: Path, name: str) -> NDArray[Any]:
    """Return an array of a shard, left on disk."""
    table, start = shard_header(path)
    entry = table[name]
    return np.memmap(path, DTYPES[entry["dtype"]], "r", start + entry["data_offsets"][0], tuple(entry["shape"]))
