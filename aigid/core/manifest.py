"""The manifest: the images of a dataset with their labels, generators and splits."""

from pathlib import Path, PurePosixPath

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError

REQUIRED = ("path", "label", "generator", "split")
OPTIONAL = ("source", "group", "caption", "sha256")
SPLITS = ("train", "val", "test")
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1}


def read(path: Path | str) -> pd.DataFrame:
    """Return a checked manifest, rows as in the file: text columns and ``label`` (N,) int64 (0 real, 1 generated)."""
    return validate(tables.read(path, REQUIRED), str(path))


def write(manifest: pd.DataFrame, path: Path | str) -> None:
    """Check, sort by path and write (``.csv`` or ``.parquet``), atomically."""
    tables.write(sort_columns(validate(manifest.sort_values("path"), str(path))), path)


def sort_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest with its columns in the order of a file."""
    extra = sorted(column for column in manifest.columns if column.startswith("extra_"))
    return manifest[[*REQUIRED, *(column for column in OPTIONAL if column in manifest), *extra]]


def validate(manifest: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the manifest with its labels as integers; InputError with row, column and value at the first error.

    Errors: an unknown column or split, a label that is neither 0 nor 1, a path that is not relative POSIX or stands
    twice, a generator that contradicts its label, a ``group`` in two splits.
    """
    for column in manifest.columns:
        if column not in REQUIRED + OPTIONAL and not column.startswith("extra_"):
            raise InputError(f"{name}: unknown column {column!r}; more columns are named extra_{column}")
    table = manifest.reset_index(drop=True)

    def require(column: str, good: pd.Series, message: str) -> None:
        tables.refuse(table, column, ~good.astype(bool), message, name)

    labels = table["label"].map(str)
    require("label", labels.isin(list(LABELS)), "want 0 (real) or 1 (generated)")
    table["label"] = labels.map(LABELS).astype("int64")
    require("path", table["path"].map(_is_relative_posix), "want a POSIX path relative to the dataset root")
    require("split", table["split"].isin(SPLITS), f"want {', '.join(SPLITS)}")
    require("generator", table["generator"].map(bool), "want a name")
    require("generator", (table["generator"] == "real") == (table["label"] == 0), "'real' goes with label 0")
    if "sha256" in table:
        require("sha256", table["sha256"].str.fullmatch("[0-9a-f]{64}|"), "want 64 hex digits")
    require("path", ~table["path"].duplicated(), "stands twice")
    if "group" in table:
        require("group", ~tables.has_several(table, "group", "split"), "is in more than one split")
    return table


def _is_relative_posix(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and "\\" not in path and ".." not in parts and not path.startswith("/")
