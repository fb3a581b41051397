"""Tables of text cells, CSV or Parquet by suffix."""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import escape, parquet
from aigid.core.columns import BLOCK, Column, cells, hashes, is_ascending, row_blocks, unescaped
from aigid.core.errors import InputError, require_package
from aigid.core.files import atomic_write
from aigid.core.paths import AnyPath, as_path

SUFFIXES = (".csv", ".parquet")
pd.options.mode.string_storage = "python"  # Arrow's, the default, refuses file names that are not UTF-8
csv.field_size_limit(2**31 - 1)  # what was written is read; a cell is no larger than its file


def read(
    path: AnyPath | str, required: tuple[str, ...], kinds: Mapping[str, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Return the cells as text, or of ``Column``'s ``kinds``, missing ones empty; InputError where it is no table."""
    path = as_path(path)
    check_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    table = (read_csv if path.suffix == ".csv" else _read_parquet)(path, kinds)
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
    if path.suffix == ".csv":
        return write_csv(row_blocks(table), path, has_carriage_return(table), float_format)
    with atomic_write(path) as part:
        return _write_parquet(table, part, path)


def write_csv(blocks: Iterable[pd.DataFrame], path: Path, quote_all: bool, float_format: str | None = None) -> None:
    """Write the rows of several tables of the same columns as one, atomically; for ``quote_all`` see below."""
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    options: dict[str, Any] = {"float_format": float_format, "quoting": quoting, "lineterminator": "\n"}
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        for number, block in enumerate(blocks):
            block.apply(_escape_formulas).to_csv(file, index=False, header=not number, **options)


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


def check_names(names: Iterable[str], path: Path) -> None:
    """InputError for text that a table at ``path`` cannot hold, before it is computed."""
    if path.suffix == ".parquet" and (broken := next(filter(escape.has_surrogates, names), None)) is not None:
        raise InputError(f"{path}: {broken!r} is not UTF-8, which Parquet wants; write a .csv")


def row_label(row: int, name: AnyPath | str = "") -> str:
    """Return how messages name a row of a file, given its position from 0: ``row 3 (line 4)``.

    Line 1 is the header; where cells of a CSV hold line ends, or lines are empty, the line is where the row begins.
    """
    line = row + 2
    if str(name).endswith(".csv"):
        with suppress(OSError, InputError, ValueError, csv.Error):
            line = next(islice(_rows(as_path(name)), row + 1, None), (line, []))[0]
    return f"row {row + 1} (line {line})"


def refuse(table: pd.DataFrame, column: str, bad: pd.Series, message: str, name: str) -> None:
    """Raise InputError with the first of the ``bad`` rows (N,) bool, its value in ``column``, and their number.

    Rows are counted by the table's index, which is their place in the file ``name`` even where some were left out.
    """
    if num := int(bad.sum()):
        row = int(bad.to_numpy().argmax())
        more = f" ({num} such rows)" if num > 1 else ""
        value, index = str(table[column].iloc[row]), table.index[row]
        label = row_label(int(index) if pd.api.types.is_integer(index) else row, name)
        raise InputError(f"{name}: {label}, column {column}: {value!r}: {message}{more}")


def unsorted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy to be checked, whose index ``refuse`` can count rows by."""
    return table.copy(deep=False) if table.index.is_unique else table.reset_index(drop=True)


def has_several(table: pd.DataFrame, key: str, column: str) -> pd.Series:
    """Return (N,) bool: the rows that repeat a non-empty ``key`` with another value of ``column``."""
    rows = _suspects(table[key], table[column], same=False)
    pairs = table.loc[rows, [key, column]].astype(object)
    first = pairs.groupby(key, sort=False)[column].transform("first")
    rows[rows] = (pairs[column] != first) & (pairs[key] != "") & ~pairs.duplicated()
    return pd.Series(rows, table.index)


def repeats(table: pd.DataFrame, key: str, within: str | None = None) -> pd.Series:
    """Return (N,) bool: the rows whose ``key`` an earlier row has, of the same ``within``."""
    rows = _suspects(table[key], table[within] if within else None, same=True)
    if rows.any():  # for none Arrow would copy the column, too
        rows[rows] = table.loc[rows, [key, *([within] if within else [])]].duplicated()
    return pd.Series(rows, table.index)


def _suspects(keys: pd.Series, values: pd.Series | None, same: bool) -> NDArray[np.bool_]:
    """Return (N,) bool: all rows of the keys that stand twice, with the ``same`` value or two, and perhaps of others.

    Where keys are not in order their hashes are sorted, 8 bytes a row: of 10^7 a table of texts takes 1.3 GB.
    """
    if is_ascending(keys):
        return np.zeros(len(keys), bool)
    codes = np.zeros(len(keys), np.int8) if values is None else pd.factorize(values)[0]
    bits = int(codes.max(initial=0)).bit_length()
    marked, twice = hashes(cells(keys), len(keys)), []
    marked <<= bits
    marked |= codes
    marked.sort()
    for start in range(0, len(marked), BLOCK):
        block = marked[start : start + BLOCK + 1]
        differ = block[1:] ^ block[:-1]
        twice.append(block[1:][differ == 0 if same else (differ > 0) & (differ >> bits == 0)] >> bits)
    if not len(known := np.unique(np.concatenate(twice))):
        return np.zeros(len(keys), bool)
    return np.isin((hashes(cells(keys), len(keys)) << bits) >> bits, known)


def read_csv(path: AnyPath, kinds: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Return the cells of a CSV under its header, rows or none; InputError naming the line where it is no CSV."""
    names, columns = list[str](), list[Column]()
    for names, block in csv_blocks(path):
        columns = columns or [Column(kind=kinds.get(name, "")) for name in names]
        for column, texts in zip(columns, block, strict=bool(block)):
            column.add(texts)
    columns.reverse()
    table = pd.DataFrame({number: columns.pop().series(object) for number in range(len(names))}, copy=False)
    return table.set_axis(names, axis="columns")


def csv_blocks(path: AnyPath) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the names of a CSV's columns with the cells of each, those of ``BLOCK`` rows at a time; last maybe none."""
    names, rows = list[str](), list[list[str]]()
    for line, row in _rows(path):
        if not names:
            names = [*map(escape.read_csv_cell, row)]
            if broken := [name for name in names if not name.isascii() and escape.has_surrogates(name)]:
                raise InputError(f"{path}: column {broken[0]!r} is not UTF-8")
            continue
        if len(row) != len(names):
            raise InputError(f"{path}: line {line}: {len(row)} cells under {len(names)} columns")
        rows.append(row)
        if len(rows) == BLOCK:
            yield names, list(unescaped(rows))
            rows.clear()
    yield names, list(unescaped(rows))


def header(path: AnyPath) -> set[str]:
    """Return the names of a CSV's columns; none where it is no CSV."""
    with suppress(InputError):
        return set(next(_rows(path), (1, []))[1])
    return set()


def _rows(path: AnyPath) -> Iterator[tuple[int, list[str]]]:
    """Yield the line where each row begins, the header's too, and the row; empty lines are none."""
    with path.open("rb") as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
    line = 1
    with path.open("r", newline="", encoding=encoding, errors=errors) as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
        except (csv.Error, UnicodeError) as error:
            raise InputError(f"{path}: the row that begins in line {line} is not CSV: {error}") from None


def has_carriage_return(table: pd.DataFrame) -> bool:
    """Return whether a cell has what ends a line unless it is quoted, but what writers of CSV leave alone.

    All cells of such a table are quoted.
    """
    texts = chain(table, *(cells(table[column]) for column in table.select_dtypes(["object", "string", "category"])))
    return any("\r" in cell for cell in texts if isinstance(cell, str))


def _escape_formulas(column: pd.Series) -> pd.Series:
    if not any(isinstance(cell, str) and cell[:1] in escape.FORMULA_STARTS for cell in column):
        return column
    return column.map(lambda cell: escape.csv_cell(cell) if isinstance(cell, str) else cell)


def _read_parquet(path: AnyPath, kinds: Mapping[str, str]) -> pd.DataFrame:
    table, others = parquet.read(path, kinds)
    if others:
        raise InputError(f"{path}: column {others[0]!r} holds neither text nor numbers")
    return table


def _write_parquet(table: pd.DataFrame, part: Path, path: Path) -> None:
    require_package("pyarrow", str(path))
    for column in table.select_dtypes(["object", "string"]):
        check_names(filter(lambda cell: isinstance(cell, str), table[column]), path)
    table.to_parquet(part, index=False)


def pipe_table(table: pd.DataFrame) -> str:
    """Return the table as Markdown with a header; nothing in a cell is taken for HTML, a link or a bar."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(escape.markdown_cell(str(cell)) for cell in row)} |" for row in rows)
