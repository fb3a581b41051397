"""Folders and files on other machines by their fsspec addresses (``s3://bucket/images``), beside local paths."""

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from aigid.core.errors import InputError, reason

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ADDRESS = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)
CHANGE_KEYS = ("ETag", "etag", "blob_id", "LastModified", "mtime", "created")  # of fsspec's ``info``, best first
ERRNO_BY_EXCEPTION = {FileNotFoundError: errno.ENOENT, IsADirectoryError: errno.EISDIR, PermissionError: errno.EACCES}
READS = 32  # at once from another machine: threads that wait cost nothing
EXTRAS = {"s3": "aigid[s3]", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}  # to pip install


@dataclass(frozen=True)
class RemotePath:
    """The part of pathlib's Path that a dataset root needs, for an address.

    InputError where its protocol is unknown or not installed, or the other machine does not answer. OSError where it
    refuses the single file, or has none.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, path: object) -> "RemotePath":
        return RemotePath(f"{self.text}{'' if self.text.endswith('/') else '/'}{path}") if str(path) else self

    @property
    def name(self) -> str:
        return PurePosixPath(self.text).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.text).suffix

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.text.rpartition("/")[0])

    def resolve(self) -> "RemotePath":
        return self

    absolute = resolve

    def is_dir(self) -> bool:
        if "::" in self.text:
            raise InputError(f"{self}: one address within another is not read")
        try:
            return self._kind() == "directory"
        except PermissionError as error:
            raise InputError(f"{self}: {error.strerror}") from None

    def is_file(self) -> bool:
        return self._kind() == "file"

    def _kind(self) -> str:
        try:
            with self._filesystem() as (filesystem, name):
                return str(filesystem.info(name)["type"])
        except FileNotFoundError:
            return ""

    def files(self) -> list[str]:
        """Return the paths, relative to this one, of all files below, as they are now."""
        with self._filesystem() as (filesystem, name):
            filesystem.invalidate_cache()
            start = name.rstrip("/") + "/"
            return [path.removeprefix(start) for path in filesystem.find(name) if not path.endswith("/")]

    def open(self, mode: str = "rb", **options: object) -> IO[Any]:
        with self._filesystem() as (filesystem, name):
            file: IO[Any] = filesystem.open(name, mode, **options)
            return file

    def read_bytes(self, start: int = 0, stop: int | None = None, max_bytes: int | None = None) -> bytes:
        """Return the file's bytes, or those from ``start`` to before ``stop``; OSError if it has over ``max_bytes``."""
        end = max_bytes + 1 if stop is None and max_bytes is not None else stop
        if end is not None and start >= end:  # for nothing S3 would send all
            return b""
        with self._filesystem() as (filesystem, name):
            try:
                content: bytes = filesystem.cat_file(name, start=start, end=end)  # one request, where open() takes two
            except Exception as error:  # "range not satisfiable", in each filesystem's words
                if start or "range" not in str(error).lower() or filesystem.info(name)["size"]:
                    raise
                return b""
            if stop is None and max_bytes is not None and len(content) > max_bytes:
                raise OSError(errno.EFBIG, f"{filesystem.info(name)['size']} bytes, limit {max_bytes}")
        return content

    def write_bytes(self, content: bytes) -> None:
        """Write the file; its folder is created where the one above exists."""
        with self._filesystem() as (filesystem, name):
            try:
                filesystem.pipe_file(name, content)
            except FileNotFoundError:
                filesystem.mkdir(filesystem._parent(name), create_parents=False)
                filesystem.pipe_file(name, content)

    def change_token(self) -> tuple[int, int]:
        """Return the file's size in bytes, and a number that differs whenever the file has changed."""
        with self._filesystem() as (filesystem, name):
            info = filesystem.info(name)
            if info["type"] != "file":
                raise IsADirectoryError
        stamp = next((str(info[key]) for key in CHANGE_KEYS if info.get(key)), str(time.time_ns()))
        return info["size"], int.from_bytes(hashlib.sha256(stamp.encode()).digest()[:7])

    @contextmanager
    def _filesystem(self) -> Iterator[tuple["AbstractFileSystem", str]]:
        """Give the filesystem and its name of the file.

        What is wrong with the file alone becomes an OSError with its number, else InputError, as more will fail.
        """
        protocol, rest = self.text.split("://", 1)
        try:
            filesystem = _connect(protocol, rest.partition("/")[0], os.getpid())
            yield filesystem, filesystem._strip_protocol(self.text)
        except InputError:
            raise
        except Exception as error:  # each filesystem has its own
            for exception, number in ERRNO_BY_EXCEPTION.items():
                if isinstance(error, exception):
                    raise OSError(number, os.strerror(number), self.text) from None
            if isinstance(error, OSError) and error.errno == errno.EFBIG:
                raise
            raise InputError(f"{self.text}: {reason(error, 200, named=True)}") from None


AnyPath = Path | RemotePath  # of a dataset


def is_remote(path: AnyPath | str) -> bool:
    """Return whether a path is an address."""
    return isinstance(path, RemotePath) or (isinstance(path, str) and ADDRESS.match(path) is not None)


def as_path(path: AnyPath | str) -> AnyPath:
    """Return a local path or an address, as it is written."""
    if not isinstance(path, str):
        return path
    if not is_remote(path):
        return Path(path)
    protocol, rest = path.split("://", 1)
    return RemotePath(f"{protocol.lower()}://{rest.rstrip('/')}")


@lru_cache
def _connect(protocol: str, host: str, _process: int) -> "AbstractFileSystem":
    """Return a filesystem for all threads, where fsspec would build one for each; none outlives a fork."""
    import fsspec

    fsspec.config.conf.setdefault("s3", {}).setdefault("config_kwargs", {}).setdefault("max_pool_connections", READS)
    try:
        return fsspec.url_to_fs(f"{protocol}://{host}")[0]
    except ImportError:
        package = EXTRAS.get(protocol, "its package")
        raise InputError(f"{protocol}://{host}: not installed; pip install '{package}'") from None
    except Exception as error:  # each filesystem has its own
        raise InputError(f"{protocol}://{host}: {reason(error, 200, named=True)}") from None


def parse_named_paths(arguments: Iterable[str]) -> dict[str, Path]:
    """Return paths by name from ``NAME=PATH``; a plain path has the name ``""``. InputError where two share a name."""
    result: dict[str, Path] = {}
    for argument in arguments:
        name, _, path = argument.rpartition("=")
        if name in result:
            raise InputError(f"{argument}: {'two without a name' if not name else f'{name!r} is named twice'}")
        result[name] = Path(path)
    return result
