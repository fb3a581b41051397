"""Folders on other machines, by the addresses of fsspec (``s3://bucket/images``), where a local folder could stand."""

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from aigid.core.errors import InputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


ADDRESS = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)
CHANGE_KEYS = ("ETag", "etag", "blob_id", "LastModified", "mtime", "created")  # what filesystems say of a file's state
ERRNO_BY_EXCEPTION = {FileNotFoundError: errno.ENOENT, IsADirectoryError: errno.EISDIR, PermissionError: errno.EACCES}
EXTRAS = {"s3": "aigid[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}  # to pip install


@dataclass(frozen=True)
class RemotePath:
    """A folder or file by its address: as much of pathlib's Path as the root of a dataset needs.

    InputError where its protocol is unknown or not installed, or the other machine does not answer. OSError where it
    refuses the one file, or has none.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, path: object) -> "RemotePath":
        return RemotePath(f"{self.text}{'' if self.text.endswith('/') else '/'}{path}") if str(path) else self

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.text).name

    @property
    def suffix(self) -> str:
        """Of the name."""
        return PurePosixPath(self.text).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder above."""
        return RemotePath(self.text.rpartition("/")[0])

    def resolve(self) -> "RemotePath":
        """Itself."""
        return self

    absolute = resolve

    def is_dir(self) -> bool:
        """Whether there is such a folder; InputError where one may not look."""
        if "::" in self.text:
            raise InputError(f"{self}: one address within another is not read")
        try:
            return self._kind() == "directory"
        except PermissionError as error:
            raise InputError(f"{self}: {error.strerror}") from None

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return self._kind() == "file"

    def files(self) -> list[str]:
        """The files below, by their paths from here, as they are now."""
        filesystem, name = _cached(self.text)
        with _parse(self.text):
            filesystem.invalidate_cache()
            start = name.rstrip("/") + "/"
            return [path.removeprefix(start) for path in filesystem.find(name) if not path.endswith("/")]

    def open(self, mode: str = "rb", **how: object) -> IO:
        """The file, opened."""
        filesystem, name = _cached(self.text)
        with _parse(self.text):
            return filesystem.open(name, mode, **how)

    def read_bytes(self, most: int | None = None) -> bytes:
        """All of the file; OSError where it has more than ``most`` bytes."""
        with _parse(self.text), self.open() as file:
            if most is not None and (file.size or 0) > most:
                raise OSError(errno.EFBIG, f"{file.size} bytes, limit {most}")
            return file.read()

    def write_bytes(self, content: bytes) -> None:
        """Make this the file's content; its folder is made where the one above exists."""
        filesystem, name = _cached(self.text)
        with _parse(self.text):
            with suppress(FileExistsError):
                filesystem.mkdir(filesystem._parent(name), create_parents=False)
            filesystem.pipe_file(name, content)

    def read_range(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to before ``stop``."""
        filesystem, name = _cached(self.text)
        with _parse(self.text):
            return filesystem.cat_file(name, start=start, end=stop) if start < stop else b""  # S3 would send all

    def state(self) -> tuple[int, int]:
        """Its bytes, and a number that is another whenever the file has changed."""
        filesystem, name = _cached(self.text)
        with _parse(self.text):
            found = filesystem.info(name)
            if found["type"] != "file":
                raise IsADirectoryError
        stamp = next((str(found[key]) for key in CHANGE_KEYS if found.get(key)), str(time.time_ns()))
        return found["size"], int.from_bytes(hashlib.sha256(stamp.encode()).digest()[:7])

    def _kind(self) -> str:
        filesystem, name = _cached(self.text)
        try:
            with _parse(self.text):
                return filesystem.info(name)["type"]
        except FileNotFoundError:
            return ""


AnyPath = Path | RemotePath  # where a dataset may lie


def is_remote(path: AnyPath | str) -> bool:
    """Whether it names something on another machine."""
    return isinstance(path, RemotePath) or (isinstance(path, str) and ADDRESS.match(path) is not None)


def as_path(path: AnyPath | str) -> AnyPath:
    """A local path, or an address, as it is written."""
    if not isinstance(path, str):
        return path
    if not is_remote(path):
        return Path(path)
    protocol, rest = path.split("://", 1)
    return RemotePath(f"{protocol.lower()}://{rest.rstrip('/')}")


def _cached(text: str) -> tuple["AbstractFileSystem", str]:
    """The filesystem of an address, and what it calls the file."""
    protocol, rest = text.split("://", 1)
    filesystem = _filesystem(protocol, rest.partition("/")[0], os.getpid())
    return filesystem, filesystem._strip_protocol(text)


@lru_cache
def _filesystem(protocol: str, host: str, _process: int) -> "AbstractFileSystem":
    """One for all threads, as fsspec would make one for each; none outlives a fork."""
    import fsspec

    try:
        return fsspec.url_to_fs(f"{protocol}://{host}")[0]
    except ImportError:
        package = EXTRAS.get(protocol, "its package")
        raise InputError(f"{protocol}://{host}: not installed; pip install '{package}'") from None
    except Exception as error:  # each filesystem has its own
        raise InputError(f"{protocol}://{host}: {_line(error)}") from None


@contextmanager
def _parse(text: str) -> Iterator[None]:
    """OSError with its number for what is wrong with one file; else InputError, as more will fail."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each filesystem has its own
        number = next((number for kind, number in ERRNO_BY_EXCEPTION.items() if isinstance(error, kind)), None)
        if number is not None:
            raise OSError(number, os.strerror(number), text) from None
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise
        raise InputError(f"{text}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]
