"""Images inside archives, read without unpacking: ``shard_0.tar::images/a.jpg`` is a path like any other.

A tar (WebDataset) is read at a member's offset, a zip through its directory, a Parquet table by column and row:
``train.parquet::image/000017``.
"""

import os
import sys
import tarfile
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from aigid.core.errors import InputError
from aigid.core.paths import AnyPath, RemotePath, as_path, is_remote
from aigid.images import MAX_BYTES, MEMBER_SEPARATOR, ImageError, Status, is_member

SUFFIXES = (".tar", ".zip", ".parquet")  # of READERS
DIGITS = 6  # of a row's number
CACHED_ROW_GROUPS = 4  # row groups of Parquet tables that stay in memory
_LOCK = Lock()


def archive_of(path: str) -> str:
    """Return the archive that a path leads into; of a plain file, the file."""
    return path.partition(MEMBER_SEPARATOR)[0] if is_member(path) else path


def members(path: AnyPath) -> list[str]:
    """Return the files in an archive, in its order; InputError where it is none, is compressed or was cut short."""
    try:
        return list(_open_cached(str(path)).names())
    except _archive_errors() as error:
        raise InputError(f"{path}: cannot be read as an archive: {' '.join(str(error).split())}") from None


def _archive_errors() -> tuple[type[Exception], ...]:
    arrow = sys.modules.get("pyarrow")  # is there if it can have raised anything
    known = OSError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile
    return (*known, arrow.ArrowException) if arrow else known


def captions(path: AnyPath) -> list[dict[str, str]]:
    """Return the cells of a Parquet table's rows that hold no images, as ``Parquet.texts`` does."""
    table = _open_cached(str(path))
    assert isinstance(table, Parquet)
    return table.texts()


def read(path: AnyPath | str) -> bytes:
    """Read all bytes of a member; ImageError where the archive or the member is missing, too large or broken."""
    archive, _, name = str(path).partition(MEMBER_SEPARATOR)
    try:
        return _open_cached(archive).read(name)
    except InputError:  # of the address, not of the archive
        raise
    except KeyError:
        raise ImageError(Status.MISSING, f"{archive} has no member {name!r}") from None
    except FileNotFoundError as error:
        raise ImageError(Status.MISSING, error.strerror or str(error)) from None
    except EOFError as error:
        raise ImageError(Status.TRUNCATED, str(error)) from None
    except _archive_errors() as error:
        raise ImageError(Status.UNREADABLE, " ".join(str(error).split())[:200]) from None


class Tar:
    """An uncompressed tar, indexed once; members are read by their offsets."""

    def __init__(self, path: str) -> None:
        self.path, last = path, 0
        self._spans: dict[str, tuple[int, int]] = {}  # offset and size
        with as_path(path).open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                last = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isfile():
                    self._spans[member.name] = (member.offset_data, member.size)
            if file.seek(0, os.SEEK_END) < last + tarfile.BLOCKSIZE:
                raise EOFError("cut short: it has no end")

    def names(self) -> Iterator[str]:
        yield from self._spans

    def read(self, name: str) -> bytes:
        offset, size = self._spans[name]
        _check_size(size)
        if isinstance(remote := as_path(self.path), RemotePath):
            return remote.read_bytes(offset, offset + size)
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
            return os.pread(file.fileno(), size, offset)


class Zip:
    """A zip file; several threads may read it."""

    def __init__(self, path: str) -> None:
        self._file = zipfile.ZipFile(_readable(path))

    def names(self) -> Iterator[str]:
        yield from (name for name in self._file.namelist() if not name.endswith("/"))

    def read(self, name: str) -> bytes:
        _check_size(self._file.getinfo(name).file_size)
        return self._file.read(name)


class Parquet:
    """A table whose columns hold image files; ``<column>/<row>`` names one, rows being counted from 0."""

    def __init__(self, path: str) -> None:
        self.path = path
        file = _parquet_file(path)
        self._columns = [field.name for field in file.schema_arrow if _holds_images(field.type)]
        self._ends: list[int] = []
        for group in range(file.num_row_groups):
            self._ends.append((self._ends or [0])[-1] + file.metadata.row_group(group).num_rows)

    def names(self) -> Iterator[str]:
        for row in range(self._ends[-1] if self._ends else 0):
            yield from (f"{column}/{row:0{DIGITS}}" for column in self._columns)

    def texts(self) -> list[dict[str, str]]:
        """Return the other cells of each row as text, missing ones empty, column names in lower case."""
        file = _parquet_file(self.path)
        columns = [field.name for field in file.schema_arrow if not _holds_images(field.type)]
        rows = file.read(columns=columns).to_pylist() if columns else [{}] * file.metadata.num_rows
        return [{name.lower(): "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]

    def read(self, name: str) -> bytes:
        column, _, number = name.rpartition("/")
        row = int(number)
        if column not in self._columns or not row < self._ends[-1]:
            raise KeyError(name)
        group = bisect_right(self._ends, row)
        with _LOCK:  # else every thread would decode the same group
            cells = _group(self.path, group, column)
        cell = cells[row - (self._ends[group - 1] if group else 0)].as_py()
        content: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
        if content is None:
            raise KeyError(name)
        _check_size(len(content))
        return content


Archive = Tar | Zip | Parquet
READERS: dict[str, Callable[[str], Archive]] = dict(zip(SUFFIXES, (Tar, Zip, Parquet), strict=True))


def _open_cached(path: str) -> Archive:
    status = None if is_remote(path) else os.stat(path)  # noqa: PTH116
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"want a name that ends in {', '.join(SUFFIXES)}")
    with _LOCK:
        return _index(path, suffix, status and (status.st_size, status.st_mtime_ns))


def _readable(path: str) -> Any:  # a name, or an open file
    return as_path(path).open() if is_remote(path) else path


def _parquet_file(path: str) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(_readable(path))


@lru_cache(maxsize=64)
def _index(path: str, suffix: str, _change_token: tuple[int, int] | None) -> Archive:
    """Index an archive; one that has changed is indexed anew, but not one at an address."""
    return READERS[suffix](path)


@lru_cache(maxsize=CACHED_ROW_GROUPS)
def _group(path: str, group: int, column: str) -> Any:
    return _parquet_file(path).read_row_group(group, columns=[column]).column(0)


def _holds_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ImageError(Status.TOO_MANY_BYTES, f"{size} bytes, limit {MAX_BYTES}")
