"""Tables of text cells, CSV or Parquet by suffix."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigid.core import escape, extras
from aigid.core.columns import BLOCK, Column, is_ascending, move
from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.core.limits import POINTER, Budget
from aigid.core.paths import AnyPath, as_path

SUFFIXES = (".csv", ".parquet")
INDEX_COLUMN = re.compile(r"__index_level_\d+__")  # that pandas adds to a Parquet table
PARQUET_ROWS = 2**14  # that are read at once
pd.options.mode.string_storage = "python"  # Arrow's, the default, refuses file names that are not UTF-8


def read(path: AnyPath | str, required: tuple[str, ...]) -> pd.DataFrame:
    """Return all cells as text, missing ones empty, rows as in the file; InputError where it is no such table."""
    path = as_path(path)
    check_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    table = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    if table.columns.has_duplicates:
        raise InputError(f"{path}: column {table.columns[table.columns.duplicated()][0]!r} stands twice")
    for column in required:
        if column not in table:
            raise InputError(f"{path}: no column {column!r}; found {', '.join(table.columns) or 'none'}")
    if table.empty:
        raise InputError(f"{path}: no rows")
    return table


def write(table: pd.DataFrame, path: Path | str, float_format: str | None = None) -> None:
    """Write ``table`` atomically, as the suffix says; equal tables give equal bytes."""
    path = Path(path)
    check_suffix(path)
    with atomic_write(path) as part:
        if path.suffix == ".csv":
            table = table.apply(_escape_formulas)
            quoting = csv.QUOTE_ALL if _has_carriage_return(table) else csv.QUOTE_MINIMAL
            options: dict[str, Any] = {"errors": "surrogateescape", "float_format": float_format, "quoting": quoting}
            table.to_csv(part, index=False, lineterminator="\n", **options)
        else:
            _write_parquet(table, part, path)


def write_csv_logs(logs: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write ``<name>.csv`` for each training log, as ``dvc plots`` reads it; what was not measured is an empty cell."""
    for name, table in logs.items():
        write(table, folder / f"{name}.csv", "%.6g")


def to_numeric(table: pd.DataFrame, columns: Iterable[str], path: Path | str) -> pd.DataFrame:
    """Return the table with ``columns`` as float64, NaN where a cell is empty; InputError naming the column."""
    table = table.copy()
    for column in columns:
        try:
            table[column] = table[column].replace("", "nan").astype("float64")
        except ValueError as error:
            raise InputError(f"{path}: column {column}: {error}") from None
    return table


def check_suffix(path: AnyPath) -> None:
    """InputError unless it is the name of a table."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: want a name that ends in {' or '.join(SUFFIXES)}")


def row_label(row: int) -> str:
    """Return how messages name a row, given its position from 0: ``row 3 (line 4)``, line 1 being the header."""
    return f"row {row + 1} (line {row + 2})"


def refuse(table: pd.DataFrame, column: str, bad: pd.Series, message: str, name: str) -> None:
    """Raise InputError with the first of the ``bad`` rows (N,) bool, its value in ``column``, and their number."""
    if num := int(bad.sum()):
        row = int(bad.to_numpy().argmax())
        more = f" ({num} such rows)" if num > 1 else ""
        value = str(table[column].iloc[row])
        raise InputError(f"{name}: {row_label(row)}, column {column}: {value!r}: {message}{more}")


def has_several(table: pd.DataFrame, key: str, column: str) -> pd.Series:
    """Return (N,) bool: the rows that repeat a non-empty ``key`` with another value of ``column``."""
    if is_ascending(table[key]):
        return pd.Series(False, table.index)
    codes, (values, _) = pd.factorize(table[key])[0], pd.factorize(table[column])
    first = np.zeros(codes.max(initial=-1) + 1, values.dtype)
    first[codes[::-1]] = values[::-1]
    odd = (values != first[codes]) & (table[key] != "").to_numpy(bool)
    pairs = table.loc[odd, [key, column]].drop_duplicates()
    return pd.Series(True, pairs.index).reindex(table.index, fill_value=False)


def repeats(table: pd.DataFrame, key: str, within: str | None = None) -> pd.Series:
    """Return (N,) bool: the rows whose ``key`` an earlier row has, of the same ``within``; of sorted keys no copy."""
    parts = table.groupby(within)[key] if within else [("", table[key])]
    if all(is_ascending(part) for _, part in parts):
        return pd.Series(False, table.index)
    return table.duplicated([key, within] if within else [key])


def _read_csv(path: AnyPath) -> pd.DataFrame:
    with path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    header, rows, columns = list[str](), list[list[str]](), list[Column]()
    line = 1  # where a row begins
    with path.open("r", newline="", encoding=encoding, errors=errors) as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row and columns:
                    if len(row) != len(header):
                        raise InputError(f"{path}: line {line}: {len(row)} cells under {len(header)} columns")
                    rows.append(row)
                elif row:
                    header, columns = [*map(escape.read_csv_cell, row)], [Column() for _ in row]
                if len(rows) == BLOCK:
                    move(rows, columns)
                line = reader.line_num + 1
        except (csv.Error, UnicodeError) as error:
            raise InputError(f"{path}: the row that begins in line {line} is not CSV: {error}") from None
    move(rows, columns)
    if broken := [name for name in header if not name.isascii() and escape.has_surrogates(name)]:
        raise InputError(f"{path}: column {broken[0]!r} is not UTF-8")
    cells = {number: column.series(object) for number, column in enumerate(columns)}
    return pd.DataFrame(cells).set_axis(header, axis="columns")


def _has_carriage_return(table: pd.DataFrame) -> bool:
    """Return whether a cell holds what ends a line unless it is quoted, but what writers of CSV leave alone."""
    return any("\r" in cell for column in table for cell in (column, *table[column]) if isinstance(cell, str))


def _escape_formulas(column: pd.Series) -> pd.Series:
    if not any(isinstance(cell, str) and cell[:1] in escape.FORMULA_STARTS for cell in column):
        return column
    return column.map(lambda cell: escape.csv_cell(cell) if isinstance(cell, str) else cell)


def _read_parquet(path: AnyPath) -> pd.DataFrame:
    table, others = read_parquet(path)
    if others:
        raise InputError(f"{path}: column {others[0]!r} holds neither text nor numbers")
    return table


def read_parquet(path: AnyPath) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells of a Parquet table's columns of text, numbers and dates as text, and the names of the others.

    InputError where it is none, or would take more memory than ``Budget`` allows. A text that recurs is one object.
    """
    from pyarrow import ArrowException, parquet

    try:
        with path.open("rb") as file:
            budget = Budget(path, file.seek(0, 2))
            head = parquet.ParquetFile(file)
            fields = [field for field in head.schema_arrow if not INDEX_COLUMN.fullmatch(field.name)]
            names = [field.name for field in fields if _is_plain(field.type)]
            others = [field.name for field in fields if not _is_plain(field.type)]
            if twice := [name for name, times in Counter(names).items() if times > 1]:
                raise InputError(f"{path}: column {twice[0]!r} stands twice")
            _check_declared(head.metadata, names, budget)
            cells = {name: Column() for name in names}
            texts = [field.name for field in fields if field.name in names and "string" in str(field.type)]
            source = parquet.ParquetFile(file, read_dictionary=texts)
            for batch in source.iter_batches(PARQUET_ROWS, columns=names) if names else ():
                for name in list(cells):
                    try:
                        cells[name].add(_texts(batch.column(batch.schema.names.index(name)), budget))
                    except (ValueError, OverflowError) as error:  # a date beyond Python's, or bytes that are no text
                        if isinstance(error, InputError):
                            raise
                        del cells[name]
            unread = [name for name in names if name not in cells]
            columns = {name: column.series("str") for name, column in cells.items()}
            return pd.DataFrame(columns, range(head.metadata.num_rows)), [*others, *unread]
    except InputError:
        raise
    except (ArrowException, ValueError, OSError, OverflowError, LookupError, TypeError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a Parquet table: {reason}") from None


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return not types.is_nested(kind) and "binary" not in str(kind)


def _check_declared(metadata: Any, names: Sequence[str], budget: Budget) -> None:
    """Raise InputError where a table says that it takes more memory than ``budget`` allows."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    sizes = [max(column.total_uncompressed_size, 0) for column in columns if column.path_in_schema in names]
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


def _write_parquet(table: pd.DataFrame, part: Path, path: Path) -> None:
    extras.require("pyarrow", str(path))
    try:
        table.to_parquet(part, index=False)
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: {error.object!r} is not UTF-8, which Parquet wants; write a .csv") from None


def pipe_table(table: pd.DataFrame) -> str:
    """Return the table as Markdown with a header; nothing in a cell is taken for HTML, a link or a bar."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(escape.markdown_cell(str(cell)) for cell in row)} |" for row in rows)
