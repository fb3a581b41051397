"""The embedding file, HDF5.

``/views/<name>`` (N, D) float16 or float32, contiguous, row = manifest row; ``/key`` (N,) the images' sha256;
``/status`` (N,) ``ok`` or the reason why an image has no embedding (its row is NaN). The attributes hold the backbone,
its preprocessing and all else that decided the rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aigid.core.errors import InputError, input_errors, os_errors, parse_json
from aigid.core.files import atomic_write

if TYPE_CHECKING:
    import h5py

SCHEMA_VERSION = 1
OK = "ok"
KEY, STATUS = "S64", "S24"
BLOCK = 8192  # rows that are read at once
DTYPES = ("float16", "float32")
READ_ERRORS = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)
Rows = np.memmap[Any, np.dtype[np.floating[Any]]]


@dataclass(frozen=True)
class EmbeddingFile:
    """An embedding file, opened for reading; ``status`` is (N,) str, one object for equal ones."""

    path: Path
    views: dict[str, Rows]  # (N, D) each, on disk until indexed
    status: NDArray[np.object_]
    attributes: dict[str, Any]

    def __len__(self) -> int:
        return len(self.status)

    @property
    def key(self) -> NDArray[np.bytes_]:
        """The sha256 of each image (N,), read anew: 64 bytes a row are not kept."""
        import h5py

        with h5py.File(self.path, "r") as file:
            key: NDArray[np.bytes_] = file["key"][:]
        return key

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(N,): the rows that hold an embedding."""
        ok: NDArray[np.bool_] = self.status == OK
        return ok

    def view(self, name: str) -> Rows:
        """Return a view (N, D), on disk until indexed; InputError that lists the known views."""
        if name not in self.views:
            raise InputError(f"{self.path}: no view {name!r}; it holds {', '.join(self.views)}")
        return self.views[name]

    def copy_rows(self, name: str, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the rows (n,) of a view to ``out`` (n, D), whose pages of the file leave memory block by block."""
        view = self.view(name)
        for start in range(0, len(rows), BLOCK):
            block = np.memmap(self.path, mode="r", dtype=view.dtype, shape=view.shape, offset=view.offset)
            out[start : start + BLOCK] = block[rows[start : start + BLOCK]]


@contextmanager
def create(
    path: Path | str,
    views: Mapping[str, tuple[int, str]],
    key: Any,
    status: Sequence[str] | NDArray[np.str_],
    attributes: Mapping[str, object],
) -> Iterator[dict[str, "ViewWriter"]]:
    """Create an embedding file, by views' width and dtype; the block writes every row of each view.

    The file appears at ``path`` when the block ends. Rows bypass HDF5, so that none stays in memory and a full disk is
    an InputError. Equal arguments and rows give equal bytes.
    """
    assert views, "an embedding file has at least one view"
    assert all(dtype in DTYPES for _, dtype in views.values())
    assert len(status) == len(key)
    with atomic_write(path) as part:
        with os_errors(path):
            layout = _allocate(part, views, len(key), attributes)
        with part.open("r+b", buffering=0) as file:
            columns = {name: ViewWriter(Path(path), file, offset, dtype) for name, (offset, dtype) in layout.items()}
            for name, cells, dtype in (("key", key, KEY), ("status", status, STATUS)):
                column = columns.pop(name)
                for start in range(0, len(cells), BLOCK):
                    column.write(start, np.asarray(cells[start : start + BLOCK], dtype))
            yield columns


@dataclass
class ViewWriter:
    """A contiguous array of an embedding file; ``dtype`` is that of a row."""

    path: Path
    file: FileIO
    offset: int
    dtype: np.dtype[Any]

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write ``rows`` from row ``start`` on."""
        assert rows.dtype == self.dtype.base
        self.file.seek(self.offset + start * self.dtype.itemsize)
        left = np.ascontiguousarray(rows).data.cast("B")
        with os_errors(self.path):
            while left:
                left = left[self.file.write(left) :]


def _allocate(
    part: Path, views: Mapping[str, tuple[int, str]], num: int, attributes: Mapping[str, object]
) -> dict[str, tuple[int, np.dtype[Any]]]:
    """Write a file without its arrays' values; return the offset and the dtype of a row of each array."""
    import h5py

    shapes: dict[str, tuple[tuple[int, ...], str]] = {"key": ((num,), KEY), "status": ((num,), STATUS)}
    shapes |= {f"views/{name}": ((num, width), dtype) for name, (width, dtype) in sorted(views.items())}
    allocate = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    allocate.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    allocate.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(part, "w", libver=("earliest", "v110")) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name, value in sorted(attributes.items()):
            file.attrs[name] = json.dumps(value, sort_keys=True)
        layout = {}
        for name, (shape, dtype) in shapes.items():
            offset = file.create_dataset(name, shape, dtype, dcpl=allocate).id.get_offset()
            layout[name.removeprefix("views/")] = offset, np.dtype((dtype, shape[1:]))
    return layout


def read(path: Path | str) -> EmbeddingFile:
    """Open an embedding file; InputError where it is missing, half-written or of another schema."""
    import h5py

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with input_errors(f"{path}: not a whole embedding file", *READ_ERRORS), h5py.File(path, "r") as file:
        if (schema := int(_attribute(file, "schema_version", 0))) != SCHEMA_VERSION:
            raise InputError(f"{path}: schema version {schema}, this code reads {SCHEMA_VERSION}; extract it again")
        key, status = (_column(path, file, name) for name in ("key", "status"))
        views = {name: _map(path, _dataset(path, file["views"], name)) for name in sorted(_views(path, file))}
        kinds, codes = np.unique(status[:], return_inverse=True)
        status, num_keys = kinds.astype(str).astype(object)[codes], len(key)
        attributes = {name: parse_json(_attribute(file, name)) for name in file.attrs if name != "schema_version"}
    if {num_keys, *map(len, views.values())} != {len(status)} or not views:
        raise InputError(f"{path}: not a whole embedding file: its columns differ in length")
    return EmbeddingFile(path, views, status, attributes)


def _views(path: Path, file: "h5py.File") -> "h5py.Group":
    import h5py

    if not isinstance(file.get("views", getlink=True), h5py.HardLink) or not isinstance(file["views"], h5py.Group):
        raise InputError(f"{path}: /views: want a group of this file")
    return file["views"]


def _attribute(file: "h5py.File", name: str, default: object = None) -> Any:
    """Return an attribute that is one number or text."""
    if name in file.attrs and file.attrs.get_id(name).shape != ():
        raise ValueError(f"attribute {name!r} is no single value")
    return file.attrs.get(name, default)


def _column(path: Path, file: "h5py.File", name: str) -> "h5py.Dataset":
    column = _dataset(path, file, name)
    if column.ndim != 1 or column.dtype.kind != "S":
        raise InputError(f"{path}: {column.name}: want (N,) bytes, found {column.shape} {column.dtype}")
    return column


def _dataset(path: Path, group: "h5py.Group", name: str) -> "h5py.Dataset":
    """Return a dataset whose bytes lie one after the other in this file: no link, nothing packed or elsewhere.

    So a file takes no more memory than it has bytes, and nothing is read but the file.
    """
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {group.name.rstrip('/')}/{name}: a link, which is not followed")
    rows = group[name]
    if not isinstance(rows, h5py.Dataset) or rows.external or rows.is_virtual or rows.id.get_offset() is None:
        raise InputError(f"{path}: {rows.name}: want a contiguous array in this file")
    if rows.id.get_offset() + rows.nbytes > path.stat().st_size:
        raise InputError(f"{path}: not a whole embedding file: {rows.name} ends beyond it")
    return rows


def _map(path: Path, rows: "h5py.Dataset") -> Rows:
    if rows.ndim != 2 or rows.dtype not in DTYPES:
        raise InputError(f"{path}: {rows.name}: want a contiguous (N, D) array of {' or '.join(DTYPES)}")
    return np.memmap(path, mode="r", dtype=rows.dtype, shape=rows.shape, offset=rows.id.get_offset())
