"""Images that lie inside Parquet tables, as the Hugging Face hub keeps them, become files that a manifest can name."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from aigid.base.errors import InputError
from aigid.base.remote import Address, Place

FOLDER = "unpacked"
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


def unpack(root: Place) -> None:
    """Write the images in ``[data/]<split>-*.parquet`` to ``unpacked/<split>/<column>/<row>.<suffix>``, byte for byte.

    Rows are counted from 0 through all tables of the split. A split is written whole or not at all, and again only
    after one of its tables has changed.
    """
    for split, tables in splits(root).items():
        done = root / FOLDER / split
        newest = max(table.stat().st_mtime_ns for table in tables)
        if not any(image_columns(table) for table in tables):
            continue
        if done.is_dir() and done.stat().st_mtime_ns >= newest:
            continue
        try:
            _write(tables, done)
        except OSError as error:
            raise InputError(f"{done}: the images of {tables[0].name} cannot be written here: {error}") from None


def splits(root: Place) -> dict[str, list[Path]]:
    """The Parquet tables of each split, in order: ``train-00000-of-00002.parquet`` is of ``train``.

    None at an address, beside which nothing can be unpacked.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    if isinstance(root, Address):
        return found
    for folder in (root, root / "data"):
        for table in sorted(folder.glob("*.parquet")):
            found[table.stem.partition("-")[0]].append(table)
    return found


def image_columns(table: Path) -> list[str]:
    """The columns that hold image files: bytes, or the hub's pair of bytes and path."""
    return [field.name for field in _schema(table) if _holds_bytes(field.type)]


def texts(root: Place, split: str) -> Iterator[dict[str, str]]:
    """The other cells of each row of a split as text, missing ones empty, column names in lower case."""
    for table in splits(root).get(split, []):
        columns = [field.name for field in _schema(table) if not _holds_bytes(field.type)]
        for cells in parquet.read_table(table, columns=columns).to_pylist():
            yield {name.lower(): "" if cell is None else str(cell) for name, cell in cells.items()}


def _schema(table: Path) -> pa.Schema:
    try:
        return parquet.read_schema(table)
    except pa.ArrowException as error:
        raise InputError(f"{table}: not a Parquet table: {str(error).splitlines()[0]}") from None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _write(tables: list[Path], done: Path) -> None:
    done.parent.mkdir(exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{done.name}-", dir=done.parent))
    try:
        for row, column, data in _images(tables):
            folder = part / column
            folder.mkdir(exist_ok=True)
            suffix = next((suffix for mark, suffix in SUFFIXES.items() if data.startswith(mark)), ".img")
            (folder / f"{row:06}{suffix}").write_bytes(data)
        part.chmod(0o755)
        shutil.rmtree(done, ignore_errors=True)
        part.rename(done)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _images(tables: list[Path]) -> Iterator[tuple[int, str, bytes]]:
    """Row, column and bytes of each image, a few of them in memory at a time."""
    row = 0
    for table in tables:
        columns = image_columns(table)
        for batch in parquet.ParquetFile(table).iter_batches(batch_size=16, columns=columns):
            for cells in batch.to_pylist():
                for column in columns:
                    data = cells[column]["bytes"] if isinstance(cells[column], dict) else cells[column]
                    if data:
                        yield row, column, data
                row += 1
