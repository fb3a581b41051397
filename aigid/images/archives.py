"""Images inside archives, read without unpacking: ``shard_0.tar::images/a.jpg`` is a path like any other.

A tar (WebDataset) is read at a member's offset, a zip through its directory, a Parquet table by column and row:
``train.parquet::image/000017``.
"""

import os
import sys
import tarfile
import zipfile
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from aigid.core import parquet
from aigid.core.errors import InputError, reason
from aigid.core.limits import MAX_FILE_BYTES, MAX_RATIO, MIN_UNPACKED, Budget
from aigid.core.paths import AnyPath, RemotePath, as_path, is_remote
from aigid.core.texts import Texts
from aigid.images import MEMBER_SEPARATOR, ImageError, Status, is_member, tar_members

SUFFIXES = (".tar", ".zip", ".parquet")  # of READERS
DIGITS = 6  # of a row's number
CACHED_ROW_GROUPS = 4  # row groups of Parquet tables that stay in memory
NAME_BYTES = 100  # that the name of an image takes in memory
SIZES = ("total_compressed_size", "total_uncompressed_size")
ERRORS: tuple[type[Exception], ...] = (
    *(OSError, ValueError, EOFError, RuntimeError, MemoryError, OverflowError, LookupError, TypeError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)
_LOCK = Lock()
MAX_INDEXED = 2**19  # members of archives that stay indexed, which take 70 bytes each


def archive_of(path: str) -> str:
    """Return the archive that a path leads into; of a plain file, the file."""
    return path.partition(MEMBER_SEPARATOR)[0] if is_member(path) else path


def members(path: AnyPath) -> list[str]:
    """Return the files in an archive, in its order; InputError where it is none, is compressed or was cut short."""
    try:
        return list(_open_cached(str(path)).names())
    except InputError:
        raise
    except _archive_errors() as error:
        raise InputError(f"{path}: cannot be read as an archive: {reason(error, 200)}") from None


def _archive_errors() -> tuple[type[Exception], ...]:
    arrow = sys.modules.get("pyarrow")  # is there if it can have raised anything
    return (*ERRORS, arrow.ArrowException) if arrow else ERRORS


def captions(path: AnyPath) -> list[dict[str, str]]:
    """Return the cells of a Parquet table's rows that hold text or numbers, column names in lower case."""
    table, _ = parquet.read(path)
    names = [name.lower() for name in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.itertuples(index=False, name=None)]


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
    except MemoryError as error:
        raise ImageError(Status.OUT_OF_MEMORY, reason(error, 200)) from None
    except _archive_errors() as error:  # RuntimeError: encrypted; NotImplementedError: another compression
        raise ImageError(Status.UNREADABLE, reason(error, 200)) from None


class Tar:
    """An uncompressed tar, indexed once; members are read by their offsets."""

    def __init__(self, path: str) -> None:
        self.path = path
        with as_path(path).open("rb") as file:
            spans = tar_members.spans(file)
        self.num, self._names, self._spans = len(spans), Texts(spans), array("q", chain.from_iterable(spans.values()))
        self._order = array("q", sorted(range(len(spans)), key=[hash(name) for name in spans].__getitem__))
        self._hashes = array("q", sorted(map(hash, spans)))

    def names(self) -> Iterator[str]:
        yield from self._names

    def read(self, name: str) -> bytes:
        start, stop = (bisect(self._hashes, hash(name)) for bisect in (bisect_left, bisect_right))
        if not (numbers := [number for number in self._order[start:stop] if self._names[number] == name]):
            raise KeyError(name)
        offset, size = self._spans[2 * numbers[0] : 2 * numbers[0] + 2]
        if size == tar_members.NO_SIZE:
            raise ImageError(Status.NOT_A_FILE, f"{name} is a link or a device in {self.path}")
        _check_size(size)
        if isinstance(remote := as_path(self.path), RemotePath):
            return remote.read_bytes(offset, offset + size)
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
            return os.pread(file.fileno(), size, offset)


class Zip:
    """A zip file; several threads may read it."""

    def __init__(self, path: str) -> None:
        self._file = zipfile.ZipFile(_readable(path))
        self.num = len(self._file.filelist)

    def names(self) -> Iterator[str]:
        yield from (name for name in self._file.namelist() if not name.endswith("/"))

    def read(self, name: str) -> bytes:
        info = self._file.getinfo(name)
        _check_size(info.file_size, info.compress_size)
        return self._file.read(name)


class Parquet:
    """A table whose columns hold image files; ``<column>/<row>`` names one, rows being counted from 0."""

    def __init__(self, path: str) -> None:
        self.path = path
        file = _parquet_file(path)
        self._columns = [field.name for field in file.schema_arrow if _holds_images(field.type)]
        budget, self._ends = Budget(path, _size(path)), [0]
        for group in range(file.num_row_groups):
            self._ends.append(self._ends[-1] + max(file.metadata.row_group(group).num_rows, 0))
            budget.spend(NAME_BYTES * (self._ends[-1] - self._ends[-2]) * len(self._columns))
        self._ends.pop(0)
        self.num = len(self._ends)

    def names(self) -> Iterator[str]:
        for row in range(self._ends[-1] if self._ends else 0):
            yield from (f"{column}/{row:0{DIGITS}}" for column in self._columns)

    def read(self, name: str) -> bytes:
        column, _, number = name.rpartition("/")
        row = int(number)
        if column not in self._columns or not 0 <= row < self._ends[-1]:
            raise KeyError(name)
        group = bisect_right(self._ends, row)
        with _LOCK:  # else every thread would decode the same group
            cells = _group(self.path, _change_token(self.path), group, column)
        cell = cells[row - (self._ends[group - 1] if group else 0)].as_py()
        content: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
        if content is None:
            raise KeyError(name)
        if not isinstance(content, bytes):
            raise TypeError(f"{name} holds no bytes")
        _check_size(len(content))
        return content


Archive = Tar | Zip | Parquet
READERS: dict[str, Callable[[str], Archive]] = dict(zip(SUFFIXES, (Tar, Zip, Parquet), strict=True))
_INDEXED: dict[tuple[str, tuple[int, ...] | None], Archive] = {}  # by path and state, the last used last


def _open_cached(path: str) -> Archive:
    """Index an archive; one that has changed is indexed anew, but not one at an address."""
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"want a name that ends in {', '.join(SUFFIXES)}")
    with _LOCK:
        key = path, _change_token(path)
        if key not in _INDEXED:
            _INDEXED[key] = READERS[suffix](path)
            while len(_INDEXED) > 1 and sum(archive.num for archive in _INDEXED.values()) > MAX_INDEXED:
                del _INDEXED[next(iter(_INDEXED))]
        archive = _INDEXED[key] = _INDEXED.pop(key)  # the last to go
        return archive


def _readable(path: str) -> Any:  # a name, or an open file
    return as_path(path).open() if is_remote(path) else path


def _parquet_file(path: str, dictionaries: Sequence[str] = ()) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(_readable(path), read_dictionary=list(dictionaries))


@lru_cache(maxsize=CACHED_ROW_GROUPS)
def _group(path: str, _token: tuple[int, ...] | None, group: int, column: str) -> Any:
    """Return a column of a row group; of files that recur one is in memory. ImageError for a decompression bomb."""
    file = _parquet_file(path)
    chunks = [file.metadata.row_group(group).column(number) for number in range(file.metadata.num_columns)]
    parts = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(f"{column}.")]
    stored, unpacked = (sum(max(getattr(part, name), 0) for part in parts) for name in SIZES)
    _check_size(0, stored, unpacked)
    if not is_remote(path):  # where each header would be a request
        with as_path(path).open("rb") as source:
            _check_size(0, stored, sum(parquet.unpacked_size(source, part) for part in parts))
    texts = [chunk.path_in_schema for chunk in parts if chunk.physical_type == "BYTE_ARRAY"]
    return _parquet_file(path, texts).read_row_group(group, columns=[column]).column(0)


def _holds_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _check_size(size: int, stored: int | None = None, unpacked: int | None = None) -> None:
    """Raise ImageError for too many bytes, or for many that were ``stored`` as few."""
    if size > MAX_FILE_BYTES:
        raise ImageError(Status.TOO_MANY_BYTES, f"{size} bytes, limit {MAX_FILE_BYTES}")
    size = size if unpacked is None else unpacked
    if stored is not None and size > max(MIN_UNPACKED, MAX_RATIO * stored):
        raise ImageError(Status.DECOMPRESSION_BOMB, f"{size} bytes of {stored} stored")


def _change_token(path: str) -> tuple[int, ...] | None:
    if is_remote(path):
        return None
    status = os.stat(path)  # noqa: PTH116
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _size(path: str) -> int:
    with as_path(path).open("rb") as file:
        return file.seek(0, os.SEEK_END)
