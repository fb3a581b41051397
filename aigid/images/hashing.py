"""SHA-256 of many files, cached by path, size and time of change."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import pandas as pd
from tqdm import tqdm

from aigid.core.errors import InputError
from aigid.core.files import cache_folder, map_in_threads
from aigid.core.paths import READS, AnyPath, RemotePath, as_path, is_remote
from aigid.images import ImageError, is_member
from aigid.images.archives import archive_of
from aigid.images.formats import read_bytes

FileState = tuple[int, int]  # bytes, and the time of the last change in ns
DB_FILE = "sha256.sqlite"
TABLE = "sha256 (path BLOB PRIMARY KEY, size INTEGER, ctime INTEGER, digest BLOB, proof INTEGER) WITHOUT ROWID"
CHUNK = 4096  # files from one write to the database to the next: what a kill loses
CHUNK_BYTES = 2**16  # bytes read at once


def with_hashes(table: pd.DataFrame, root: AnyPath) -> pd.DataFrame:
    """Return a manifest whose ``sha256`` is filled in where it is missing; "" where a file cannot be read."""
    known, folder = table.get("sha256", pd.Series("", table.index, dtype=object)), root.resolve()
    unknown = known == ""
    digests = hash_files([f"{folder}/{path}" for path in table["path"][unknown]])
    return table.assign(sha256=known.mask(unknown, pd.Series(digests, table.index[unknown], dtype=object)))


def hash_files(paths: Sequence[str]) -> list[str]:
    """Return the hex digest of each file, given by absolute path or address; "" for one that cannot be read.

    Digests are cached in ``$AIGID_CACHE/sha256.sqlite``, which several processes may share. Where that cannot be used,
    or a row of it has a wrong checksum, files are read; a damaged one is renamed to ``sha256.sqlite.damaged``.
    """
    if not paths:
        return []
    database = cache_folder() / DB_FILE
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        return _hash_through_cache(database, paths)
    except (OSError, sqlite3.OperationalError):  # no such folder, read-only, full, locked, or another program's file
        pass
    except sqlite3.DatabaseError:
        for end in ("", "-journal"):
            with suppress(OSError):
                Path(f"{database}{end}").replace(f"{database}.damaged{end}")
    return _hash_through_cache(":memory:", paths)


def _hash_through_cache(database: Path | str, paths: Sequence[str]) -> list[str]:
    digests: list[str] = []
    threads = {"batch": 1, "workers": READS} if is_remote(paths[0]) else {}
    with (
        closing(sqlite3.connect(database, timeout=60)) as db,
        tqdm(total=len(paths), desc="sha256", unit="file", disable=None) as bar,
    ):
        db.execute("PRAGMA synchronous = OFF")  # what a power cut spoils has a wrong checksum
        db.execute(f"CREATE TABLE IF NOT EXISTS {TABLE}")
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            states = dict(zip(chunk, map_in_threads(_state, chunk, **threads), strict=True))
            cached = _lookup(db, states)
            unread = [path for path, state in states.items() if state and path not in cached]
            fresh = dict(zip(unread, map_in_threads(_digest, unread, **threads), strict=True))
            _store(db, [(path, state, fresh[path]) for path in unread if fresh[path] and (state := states[path])])
            digests += [(cached.get(path) or fresh.get(path, b"")).hex() for path in chunk]
            bar.update(len(chunk))
    return digests


def _state(path: str) -> FileState | None:
    try:
        if is_remote(path):
            file = as_path(archive_of(path))
            assert isinstance(file, RemotePath)
            return file.change_token()
        status = os.stat(archive_of(path))  # noqa: PTH116 (a Path would cost three times the call)
    except InputError:
        raise
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return (status.st_size, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None


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


def _lookup(db: sqlite3.Connection, states: dict[str, FileState | None]) -> dict[str, bytes]:
    """Return the cached digests of the files that have not changed."""
    known = {os.fsencode(path): (path, state) for path, state in states.items()}
    digests: dict[str, bytes] = {}
    for part in [list(known)[start : start + 512] for start in range(0, len(known), 512)]:
        rows = db.execute(f"SELECT * FROM sha256 WHERE path IN ({','.join('?' * len(part))})", part)
        for key, size, ctime, digest, checksum in rows:
            path, state = known[key]
            if state == (size, ctime) and checksum == _checksum(key, state, digest):
                digests[path] = digest
    return digests


def _store(db: sqlite3.Connection, fresh: list[tuple[str, FileState, bytes]]) -> None:
    keyed = [(os.fsencode(path), state, digest) for path, state, digest in fresh]
    rows = [(key, *state, digest, _checksum(key, state, digest)) for key, state, digest in keyed]
    with db:
        db.executemany("INSERT OR REPLACE INTO sha256 VALUES (?, ?, ?, ?, ?)", rows)


def _checksum(path: bytes, state: FileState, digest: bytes) -> int:
    return crc32(repr((path, state, digest)).encode())
