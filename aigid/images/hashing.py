"""The sha256 of many files, read in threads and kept by path, size and time of change, so that each is read once."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from tqdm import tqdm

from aigid.core.errors import InputError
from aigid.core.files import cache_folder, num_workers
from aigid.core.paths import as_path, is_remote
from aigid.images.archives import archive_of
from aigid.images.errors import ImageError, is_member
from aigid.images.formats import read_bytes

A, B = TypeVar("A"), TypeVar("B")
FileState = tuple[int, int]  # bytes, and the time of the last change in ns
DB_FILE = "sha256.sqlite"
TABLE = "sha256 (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, digest BLOB, proof INTEGER) WITHOUT ROWID"
CHUNK = 4096  # files from one write to the store to the next: what a kill loses
BATCH = 64  # files that a thread takes at once
CHUNK_BYTES = 2**16  # bytes read at once


def hash_files(paths: Sequence[str]) -> list[str]:
    """The hex digest of each file; "" for one that cannot be read or is no regular file.

    A file is given by its absolute path or its address. Digests are kept in ``$AIGID_CACHE/sha256.sqlite``, which
    several processes may share. Where that cannot be used, or a line of it does not prove right, files are read; a
    damaged one is set aside as ``sha256.sqlite.damaged``.
    """
    place = cache_folder() / DB_FILE
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return _hash_through_cache(place, paths)
    except (OSError, sqlite3.OperationalError):  # no such place, read-only, full, locked, or another program's file
        pass
    except sqlite3.DatabaseError:
        for end in ("", "-journal"):
            with suppress(OSError):
                Path(f"{place}{end}").replace(f"{place}.damaged{end}")
    return _hash_through_cache(":memory:", paths)


def _hash_through_cache(place: Path | str, paths: Sequence[str]) -> list[str]:
    found: list[str] = []
    with (
        closing(sqlite3.connect(place, timeout=60)) as store,
        ThreadPoolExecutor(num_workers()) as pool,
        tqdm(total=len(paths), desc="sha256", unit="file", disable=None) as bar,
    ):
        store.execute("PRAGMA synchronous = OFF")  # what a power cut spoils does not prove right
        store.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}")
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            states = dict(zip(chunk, _map(pool, _state, chunk), strict=True))
            digests = _lookup(store, states)
            unread = [path for path, state in states.items() if state and path not in digests]
            fresh = dict(zip(unread, _map(pool, _digest, unread), strict=True))
            _store(store, [(path, states[path], digest) for path, digest in fresh.items() if digest])
            found += [(digests.get(path) or fresh.get(path, b"")).hex() for path in chunk]
            bar.update(len(chunk))
    return found


def _map(pool: ThreadPoolExecutor, function: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    slices = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    return chain.from_iterable(pool.map(lambda part: [function(item) for item in part], slices))


def _state(path: str) -> FileState | None:
    try:
        if is_remote(path):
            return as_path(archive_of(path)).change_token()
        status = os.stat(archive_of(path))  # noqa: PTH116 (a Path would cost three times the call)
    except InputError:
        raise
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _digest(path: str) -> bytes:
    if is_member(path) or is_remote(path):
        try:
            return hashlib.sha256(read_bytes(path)).digest()
        except ImageError:
            return b""
    digest = hashlib.sha256()
    try:
        file = os.open(path, os.O_RDONLY)  # half the cost of a file object, which counts where images are small
        try:
            while data := os.read(file, CHUNK_BYTES):
                digest.update(data)
        finally:
            os.close(file)
    except OSError:
        return b""
    return digest.digest()


def _lookup(store: sqlite3.Connection, states: dict[str, FileState | None]) -> dict[str, bytes]:
    """The kept digests of the files that are as they were."""
    known = {os.fsencode(path): (path, state) for path, state in states.items()}
    found: dict[str, bytes] = {}
    for part in [list(known)[start : start + 512] for start in range(0, len(known), 512)]:
        lines = store.execute(f"SELECT * FROM sha256 WHERE path IN ({','.join('?' * len(part))})", part)
        for key, size, mtime, digest, proof in lines:
            path, state = known[key]
            if state == (size, mtime) and proof == _checksum(key, state, digest):
                found[path] = digest
    return found


def _store(store: sqlite3.Connection, fresh: list[tuple[str, FileState, bytes]]) -> None:
    keyed = [(os.fsencode(path), state, digest) for path, state, digest in fresh]
    lines = [(key, *state, digest, _checksum(key, state, digest)) for key, state, digest in keyed]
    with store:
        store.executemany("INSERT OR REPLACE INTO sha256 VALUES (?, ?, ?, ?, ?)", lines)


def _checksum(path: bytes, state: FileState, digest: bytes) -> int:
    return crc32(repr((path, state, digest)).encode())
