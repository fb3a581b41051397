"""Tables of text cells, CSV or Parquet by suffix."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.core.paths import AnyPath, as_path

SUFFIXES = (".csv", ".parquet")
INDEX_NAMES = 2**14  # cells from the start of a table that share an object with later equal ones, to save memory


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
            table.to_csv(part, index=False, lineterminator="\n", errors="surrogateescape", float_format=float_format)
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
    pairs = table.loc[table[key] != "", [key, column]].drop_duplicates()
    return pairs.duplicated(key).reindex(table.index, fill_value=False)


def _read_csv(path: AnyPath) -> pd.DataFrame:
    with path.open("r", newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        try:
            rows: list[list[str]] = []
            known: dict[str, str] = {}
            for row in filter(None, csv.reader(file, strict=True)):
                if len(known) < INDEX_NAMES:
                    known.update(zip(row, row, strict=True))
                rows.append([known.get(cell, cell) for cell in row])
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV table: {error}") from None
    header = rows.pop(0) if rows else []
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise InputError(f"{path}: {row_label(number)}: {len(row)} cells under {len(header)} columns")
    return pd.DataFrame(rows, columns=header, dtype=object)


def _read_parquet(path: AnyPath) -> pd.DataFrame:
    try:
        with path.open("rb") as file:
            table = pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a Parquet table: {str(error).splitlines()[0]}") from None
    table.columns = table.columns.astype(str)
    return table.astype(object).where(table.notna(), "").map(str)


def _write_parquet(table: pd.DataFrame, part: Path, path: Path) -> None:
    try:
        table.to_parquet(part, index=False)
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: {error.object!r} is not UTF-8, which Parquet wants; write a .csv") from None


def pipe_table(table: pd.DataFrame) -> str:
    """Return the table as Markdown with a header; a bar in a cell is escaped."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
