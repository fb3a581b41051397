"""The embedding file: the one door to HDF5.

``/views/<name>`` (N, D) float16 or float32, contiguous, row = manifest row; ``/key`` (N,) the images' sha256;
``/status`` (N,) ``ok`` or the reason why an image has no embedding (its row is NaN). What made the rows stands in the
attributes.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import h5py
import numpy as np

from aigid.core.errors import InputError
from aigid.core.files import atomic_write

SCHEMA_VERSION = 1
OK = "ok"
KEY, STATUS = "S64", "S24"
DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class EmbeddingFile:
    """An embedding file, opened for reading."""

    path: Path
    views: dict[str, np.memmap]  # (N, D) each
    key: np.ndarray  # (N,) str, sha256 of each image
    status: np.ndarray  # (N,) str
    attributes: dict[str, object]

    @property
    def ok(self) -> np.ndarray:
        """(N,) bool: the rows that hold an embedding."""
        return self.status == OK

    def view(self, name: str) -> np.memmap:
        """(N, D), on disk until indexed; InputError that lists the known views."""
        if name not in self.views:
            raise InputError(f"{self.path}: no view {name!r}; it holds {', '.join(self.views)}")
        return self.views[name]


def write(
    path: Path | str,
    views: dict[str, np.ndarray],
    key: list[str] | np.ndarray,
    status: list[str] | np.ndarray,
    attributes: dict[str, object],
) -> None:
    """Write an embedding file atomically; equal arguments give equal bytes."""
    shapes = {name: (rows.shape[1], str(rows.dtype)) for name, rows in views.items() if rows.ndim == 2}
    assert views.keys() == shapes.keys()
    assert all(len(rows) == len(key) for rows in views.values())
    with create(path, shapes, key, status, attributes) as out:
        for name in sorted(views):
            out[name].write(0, views[name])


@contextmanager
def create(
    path: Path | str,
    views: dict[str, tuple[int, str]],
    key: list[str] | np.ndarray,
    status: list[str] | np.ndarray,
    attributes: dict[str, object],
) -> Iterator[dict[str, "ViewWriter"]]:
    """An embedding file to fill, that stands at ``path`` when the block ends; ``views`` gives width and dtype of each.

    The block writes every row of each view. Rows go past HDF5 to their places in the file, so that nothing of them
    stays in memory, and a full disk is one line (InputError).
    """
    key, status = np.asarray(key, KEY), np.asarray(status, STATUS)
    assert views, "an embedding file has at least one view"
    assert all(dtype in DTYPES for _, dtype in views.values())
    assert len(status) == len(key)
    with atomic_write(path) as part:
        with _decode_error(path):
            columns = _allocate(part, views, len(key), attributes)
        with part.open("r+b", buffering=0) as file:
            for column in columns.values():
                column.path, column.file = Path(path), file
            columns.pop("key").write(0, key)
            columns.pop("status").write(0, status)
            yield columns


@dataclass
class ViewWriter:
    """A contiguous array's place in an embedding file."""

    offset: int
    dtype: np.dtype
    path: Path | None = None
    file: FileIO | None = None

    def write(self, start: int, rows: np.ndarray) -> None:
        """Put ``rows`` at row ``start``."""
        assert rows.dtype == self.dtype.base
        self.file.seek(self.offset + start * self.dtype.itemsize)
        left = memoryview(np.ascontiguousarray(rows)).cast("B")
        with _decode_error(self.path):
            while left:
                left = left[self.file.write(left) :]


@contextmanager
def _decode_error(path: Path | str) -> Iterator[None]:
    """Turn what the disk says, or HDF5 in many words, into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: {os.strerror(error.errno) if error.errno else error}") from None


def _allocate(
    part: Path, views: dict[str, tuple[int, str]], num: int, attributes: dict[str, object]
) -> dict[str, ViewWriter]:
    """Write all of a file but its arrays; where those belong."""
    wanted = {"key": ((num,), KEY), "status": ((num,), STATUS)}
    wanted |= {f"views/{name}": ((num, width), dtype) for name, (width, dtype) in sorted(views.items())}
    allocate = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    allocate.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    allocate.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(part, "w", libver=("earliest", "v110")) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name, value in sorted(attributes.items()):
            file.attrs[name] = json.dumps(value, sort_keys=True)
        columns = {}
        for name, (shape, dtype) in wanted.items():
            offset = file.create_dataset(name, shape, dtype, dcpl=allocate).id.get_offset()
            columns[name.removeprefix("views/")] = ViewWriter(offset, np.dtype((dtype, shape[1:])))
    return columns


def read(path: Path | str) -> EmbeddingFile:
    """Open an embedding file; InputError where it is missing, half-written or of another schema."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            _check_schema(file, path)
            views = {name: _map(path, rows) for name, rows in sorted(file["views"].items())}
            key, status = file["key"][:].astype(str), file["status"][:].astype(str)
            attributes = {name: json.loads(text) for name, text in file.attrs.items() if name != "schema_version"}
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a whole embedding file: {str(error).splitlines()[0]}") from None
    if any(len(rows) != len(key) for rows in views.values()) or len(status) != len(key) or not views:
        raise InputError(f"{path}: not a whole embedding file: its columns differ in length")
    return EmbeddingFile(path, views, key, status, attributes)


def _check_schema(file: h5py.File, path: Path) -> None:
    version = int(file.attrs.get("schema_version", 0))
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema version {version}, this code reads {SCHEMA_VERSION}; extract it again")


def _map(path: Path, rows: h5py.Dataset) -> np.memmap:
    offset = rows.id.get_offset()
    if offset is None or rows.ndim != 2 or rows.dtype not in DTYPES:
        raise InputError(f"{path}: {rows.name}: want a contiguous (N, D) array of {' or '.join(DTYPES)}")
    return np.memmap(path, mode="r", dtype=rows.dtype, shape=rows.shape, offset=offset)
