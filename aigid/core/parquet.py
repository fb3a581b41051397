"""Parquet tables as text, within a budget of memory.

A footer, which readers go by, may lie, so what a table takes is counted by its pages' own headers (Apache Parquet 2.10,
in Thrift's compact protocol), of which two numbers are needed, and where they end.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

import pandas as pd

from aigid.core.columns import Column
from aigid.core.errors import InputError, input_errors
from aigid.core.limits import POINTER, Budget
from aigid.core.paths import AnyPath

HEADER_SIZES = (2**9, 2**16, 2**24)  # bytes that are read of a page header, the next where one does not fit
MAX_PAGES, MAX_DEPTH = 2**17, 8  # pages of a column in a row group, structures within a header
UNPACKED, STORED = 2, 3  # the fields uncompressed_page_size and compressed_page_size
FIXED = {1: 0, 2: 0, 3: 1, 7: 8}  # bytes of a value by Thrift's types: true, false, byte, double
NUMBERS, BINARY, STRUCTURE = (4, 5, 6), 8, 12
INDEX_COLUMN = re.compile(r"__index_level_\d+__")  # that pandas adds to a Parquet table
PARQUET_ROWS = 2**14  # that are read at once


def read(path: AnyPath, kinds: Mapping[str, str] = MappingProxyType({})) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells of a Parquet table's columns of text, numbers and dates as text, and the names of the others.

    InputError where it is none, or would take more memory than ``Budget`` allows. A text that recurs is one object; for
    ``kinds`` see ``Column``.
    """
    columns: dict[str, Column | None] = {}
    num_rows = 0
    for num, block in blocks(path):
        num_rows += num
        for name, texts in block.items():
            column = columns.setdefault(name, Column(kind=kinds.get(name, "")))
            if texts is None or column is None:
                columns[name] = None
            else:
                column.add(texts)
    table = {name: column.series("str") for name, column in columns.items() if column is not None}
    return pd.DataFrame(table, range(num_rows)), [name for name, column in columns.items() if column is None]


def blocks(path: AnyPath) -> Iterator[tuple[int, dict[str, list[str] | None]]]:
    """Yield a number of rows with the cells of a Parquet table's columns as text, at first of none.

    None stands for a column that holds neither text, numbers nor dates, or one that cannot be read, from there on.
    InputError as ``read``.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    errors = ArrowException, ValueError, OSError, OverflowError, LookupError, TypeError, MemoryError
    with input_errors(f"{path}: not a Parquet table", *errors), path.open("rb") as file:
        budget = Budget(path, file.seek(0, 2))
        head = ParquetFile(file)
        fields = [field for field in head.schema_arrow if not INDEX_COLUMN.fullmatch(field.name)]
        names = [field.name for field in fields if _is_plain(field.type)]
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise InputError(f"{path}: column {twice[0]!r} stands twice")
        _check_declared(file, head.metadata, names, budget)
        block: dict[str, list[str] | None] = {field.name: [] if field.name in names else None for field in fields}
        yield (0 if names else head.metadata.num_rows), block
        texts = [field.name for field in fields if field.name in names and "string" in str(field.type)]
        source = ParquetFile(file, read_dictionary=texts)
        for batch in source.iter_batches(PARQUET_ROWS, columns=names) if names else ():
            for name in [name for name in names if block[name] is not None]:
                try:
                    block[name] = _texts(batch.column(batch.schema.names.index(name)), budget)
                except (ValueError, OverflowError) as error:  # a date beyond Python's, or bytes that are no text
                    if isinstance(error, InputError):
                        raise
                    block[name] = None
            yield len(batch), block


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return not types.is_nested(kind) and "binary" not in str(kind)


def _check_declared(file: IO[bytes], metadata: Any, names: Sequence[str], budget: Budget) -> None:
    """Raise InputError where a table says that it takes more memory than ``budget`` allows."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    sizes = [unpacked_size(file, column) for column in columns if column.path_in_schema in names]
    for size in (sum(sizes), POINTER * max(metadata.num_rows, 0) * max(len(names), 1)):
        if size > budget.limit:
            budget.spend(size)


def _texts(column: Any, budget: Budget) -> list[str]:
    """Return the cells of a column of a batch; InputError before they take too much memory."""
    from pyarrow import compute

    num_bytes = POINTER * len(column)
    if hasattr(column, "dictionary") and "string" in str(column.dictionary.type):
        num_bytes += compute.sum(compute.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    budget.spend(num_bytes)
    if hasattr(column, "dictionary") and len(column.dictionary) <= len(column):
        words = [*map(str, column.dictionary.to_pylist())]
        return ["" if index is None else words[index] for index in column.indices.to_pylist()]
    cells = column.dictionary_decode() if hasattr(column, "dictionary") else column
    return ["" if cell is None or cell != cell else str(cell) for cell in cells.to_pylist()]


def unpacked_size(file: IO[bytes], chunk: Any) -> int:
    """Return the bytes that a column's pages in a row group take, by their own headers; ValueError for odd ones."""
    at = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    end, total = at + chunk.total_compressed_size, 0
    for _ in range(MAX_PAGES):
        if at >= end:
            return total
        fields, length = _read_header(file, at)
        if min(fields[UNPACKED], fields[STORED]) < 0:
            raise ValueError("a page of less than 0 bytes")
        total, at = total + fields[UNPACKED], at + length + fields[STORED]
    raise ValueError(f"more than {MAX_PAGES} pages")


def _read_header(file: IO[bytes], at: int) -> tuple[dict[int, int], int]:
    for size in HEADER_SIZES:
        file.seek(at)
        data = file.read(size)
        try:
            return _structure(data, 0, 0)
        except IndexError:
            if len(data) < size:
                break
    raise ValueError("a page without a whole header")


def _structure(data: bytes, at: int, depth: int) -> tuple[dict[int, int], int]:
    """Return a structure's whole numbers by field, and where it ends; IndexError where the data end before."""
    numbers: dict[int, int] = {}
    field = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _number(data, at)
        start = at
        at = _skip(data, at, head & 15, depth)
        if head & 15 in NUMBERS:
            numbers[field] = _number(data, start)[0]
    return numbers, at + 1


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Return where a value ends."""
    if depth > MAX_DEPTH:
        raise ValueError("a page header of too many structures")
    if kind in NUMBERS:
        return _number(data, at)[1]
    if kind == BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == STRUCTURE:
        return _structure(data, at, depth + 1)[1]
    if kind not in FIXED:  # lists and maps, which no page header has
        raise ValueError(f"a page header of type {kind}")
    return at + FIXED[kind]


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        value, byte, at, shift = value | (data[at] & 127) << shift, data[at], at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 10 bytes")
