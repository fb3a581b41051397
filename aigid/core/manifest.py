"""The manifest: which images a dataset has, what each one is, and which split it belongs to."""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError

REQUIRED = ("path", "label", "generator", "split")
OPTIONAL = ("source", "group", "caption", "sha256")
SPLITS = ("train", "val", "test")
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1}


def read(path: Path | str) -> pd.DataFrame:
    """A checked manifest, rows as in the file: text columns and ``label`` (N,) int64 (0 real, 1 generated)."""
    return validate(tables.read(path, REQUIRED), str(path))


def write(manifest: pd.DataFrame, path: Path | str) -> None:
    """Check, sort by path and write (``.csv`` or ``.parquet``), atomically."""
    extra = sorted(column for column in manifest if column.startswith("extra_"))
    columns = [*REQUIRED, *(column for column in OPTIONAL if column in manifest), *extra]
    tables.write(validate(manifest.sort_values("path"), str(path))[columns], path)


def validate(manifest: pd.DataFrame, name: str) -> pd.DataFrame:
    """The manifest with its labels as integers; InputError with row, column and value at the first fault.

    Faults: an unknown column or split, a label that is neither 0 nor 1, a path that is not relative POSIX or stands
    twice, a generator that contradicts its label, a ``group`` in two splits.
    """
    for column in manifest:
        if column not in REQUIRED + OPTIONAL and not column.startswith("extra_"):
            raise InputError(f"{name}: unknown column {column!r}; more columns are named extra_{column}")
    table = manifest.reset_index(drop=True)
    _check(table, "label", lambda value: str(value) in LABELS, "want 0 (real) or 1 (generated)", name)
    table["label"] = table["label"].map(lambda value: LABELS[str(value)]).astype("int64")
    _check(table, "path", _is_relative_posix, "want a POSIX path relative to the dataset root", name)
    _check(table, "split", SPLITS.__contains__, f"want {', '.join(SPLITS)}", name)
    _check(table, "generator", bool, "want a name", name)
    _refuse(
        table, (table["generator"] == "real") != (table["label"] == 0), "generator", name, "'real' goes with label 0"
    )
    if "sha256" in table:
        _check(table, "sha256", lambda value: re.fullmatch("[0-9a-f]{64}|", value), "want 64 hex digits", name)
    _refuse(table, table["path"].duplicated(), "path", name, "stands twice")
    _check_groups(table, name)
    return table


def _check(table: pd.DataFrame, column: str, good: Callable[[str], object], want: str, name: str) -> None:
    _refuse(table, ~table[column].map(lambda value: bool(good(value))).astype(bool), column, name, want)


def _refuse(table: pd.DataFrame, bad: pd.Series, column: str, name: str, why: str) -> None:
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise InputError(f"{name}: {tables.row_label(row)}, column {column}: {table[column].iloc[row]!r}: {why}")


def _check_groups(table: pd.DataFrame, name: str) -> None:
    if "group" not in table:
        return
    first = table[table["group"] != ""].groupby("group")["split"].transform("first")
    straddles = (table["split"] != first.reindex(table.index)) & (table["group"] != "")
    _refuse(table, straddles, "group", name, "is in more than one split")


def _is_relative_posix(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and "\\" not in path and ".." not in parts and not path.startswith("/")
