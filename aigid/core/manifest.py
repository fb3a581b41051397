"""The manifest: the images of a dataset with their labels, generators and splits."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
import pandas as pd

from aigid.core import parquet, tables
from aigid.core.columns import cells, hashes, is_ascending
from aigid.core.errors import InputError

REQUIRED = ("path", "label", "generator", "split")
OPTIONAL = ("source", "group", "caption", "sha256")
SPLITS = ("train", "val", "test")
ROLE = "extra_role"  # of images that nothing may learn from, and why
Role = Literal["never_train", "test_only", "in_the_wild"]
ROLES: tuple[Role, ...] = get_args(Role)
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "False": 0, "True": 1}


def read(path: Path | str) -> pd.DataFrame:
    """Return a checked manifest, rows as in the file: text columns and ``label`` (N,) int64 (0 real, 1 generated)."""
    return validate(tables.read(path, REQUIRED), str(path))


def blocks(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of a manifest, checked, some at a time; InputError as ``read``, maybe after the last."""
    tables.check_suffix(path)
    last, ascending, num, names = "", True, 0, list[str]()
    try:
        for names, block in _cell_blocks(path):
            if not block or len({*names}) < len(names):
                break
            index = range(num, num + len(block[0]))
            table = validate(pd.DataFrame(dict(zip(names, block, strict=True)), index, dtype=object), str(path))
            ascending &= table["path"].iloc[0] > last and is_ascending(table["path"])
            last, num = table["path"].iloc[-1], index.stop
            yield table
    except (InputError, LookupError, OSError):
        num = 0
    if not num or ((not ascending or {"group", ROLE} & {*names}) and _may_contradict(path)):
        read(path)  # says which rows
        assert num, "a manifest is refused by its blocks alone"


def _cell_blocks(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the names of a table's columns with the cells of each, some rows at a time."""
    if path.suffix == ".csv":
        yield from tables.csv_blocks(path)
        return
    for num, block in parquet.blocks(path):
        columns = [texts for texts in block.values() if texts is not None]
        if len(columns) < len(block):
            raise InputError(f"{path}: a column that holds neither text nor numbers")
        if num:
            yield [*block], columns


def _may_contradict(path: Path) -> bool:
    """Return False where no two rows of a table share a path, no group has several splits, and roles are kept to.

    Of each text 64 bits are compared, so that True may be chance.
    """
    paths, groups, pairs, hidden, learnt = ([np.empty(0, np.int64)] for _ in range(5))
    for names, block in _cell_blocks(path):
        table = dict(zip(names, block, strict=False))
        split, group = table.get("split", ()), table.get("group", ())
        paths.append(hashes(table.get("path", ())))
        groups.append(hashes(filter(None, group)))
        pairs.append(hashes(pair for pair in zip(group, split, strict=False) if pair[0]))
        if ROLE in table and "sha256" in table:
            role, key = (np.array(table[name], bool) for name in (ROLE, "sha256"))
            digests = hashes(table["sha256"])
            hidden.append(digests[role & key])
            learnt.append(digests[(np.array(split, object) != "test") & key])
    num_paths, num_groups, num_pairs = (len(np.unique(np.concatenate(part))) for part in (paths, groups, pairs))
    several = num_paths < sum(map(len, paths)) or num_groups < num_pairs
    return several or bool(np.isin(np.concatenate(hidden), np.concatenate(learnt)).any())


def read_to_learn(path: Path | str) -> pd.DataFrame:
    """Return a manifest that something is fitted on; InputError where all its images have a role."""
    table = read(path)
    if ROLE in table and (table[ROLE] != "").all():
        raise InputError(f"{path}: {refusal(', '.join(sorted(set(table[ROLE]))))}")
    return table


def with_role(table: pd.DataFrame, role: str | None, log: Callable[[str], object]) -> pd.DataFrame:
    """Return the rows of ``test``, or all where there is none, as test rows of a role; as they are without one."""
    if role is None:
        return table
    test = table[table["split"] == "test"]
    if len(test) and len(test) < len(table):
        log(f"role {role}: {len(table) - len(test)} images that are to learn from are left out")
    return (test if len(test) else table).assign(split="test", **{ROLE: role})


def refusal(role: str) -> str:
    """Return the rule of a dataset with a role."""
    return f"its role is {role}: nothing is trained, calibrated or chosen on it; its images are in test alone"


def check_roles(table: pd.DataFrame, name: str) -> None:
    """Raise InputError for an unknown role, or an image with one in another split than test."""
    if ROLE in table:
        tables.refuse(table, ROLE, ~table[ROLE].isin(("", *ROLES)), f"want {', '.join(ROLES)}", name)
        hidden = table[ROLE] != ""
        if "sha256" in table:
            hidden |= (table["sha256"] != "") & table["sha256"].isin(table["sha256"][hidden])
        learnt = hidden & (table["split"] != "test")
        tables.refuse(table, "path", learnt, "its role, or its twin's, goes with split test alone", name)


def write(manifest: pd.DataFrame, path: Path | str) -> None:
    """Check, sort by path and write (``.csv`` or ``.parquet``), atomically."""
    ordered = manifest if is_ascending(manifest["path"]) else manifest.sort_values("path")
    tables.write(sort_columns(validate(ordered, str(path))), path)


def sort_columns(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest with its columns in the order of a file."""
    extra = sorted(column for column in manifest.columns if column.startswith("extra_"))
    return manifest[[*REQUIRED, *(column for column in OPTIONAL if column in manifest), *extra]]


def validate(manifest: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the manifest with its labels as integers; InputError with row, column and value at the first error.

    Errors: an unknown column or split, a label that is neither 0 nor 1, a path that is not relative POSIX or stands
    twice, a generator that contradicts its label, a ``group`` in two splits, a role (``extra_role``) outside of test.
    """
    for column in manifest.columns:
        if column not in REQUIRED + OPTIONAL and not column.startswith("extra_"):
            raise InputError(f"{name}: unknown column {column!r}; more columns are named extra_{column}")
    table = tables.unsorted(manifest)

    def require(column: str, good: pd.Series, message: str) -> None:
        tables.refuse(table, column, ~good.astype(bool), message, name)

    labels = table["label"].map(str)
    require("label", labels.isin(list(LABELS)), "want 0 (real) or 1 (generated)")
    table["label"] = labels.map(LABELS).astype("int64")
    require("path", _are_relative_posix(table["path"]), "want a POSIX path relative to the dataset root")
    require("split", table["split"].isin(SPLITS), f"want {', '.join(SPLITS)}")
    require("generator", table["generator"].map(bool), "want a name")
    require("generator", (table["generator"] == "real") == (table["label"] == 0), "'real' goes with label 0")
    if "sha256" in table:
        require("sha256", table["sha256"].str.fullmatch("[0-9a-f]{64}|"), "want 64 hex digits")
    require("path", ~tables.repeats(table, "path"), "stands twice")
    check_roles(table, name)
    if "group" in table:
        require("group", ~tables.has_several(table, "group", "split"), "is in more than one split")
    return table.reset_index(drop=True)


def _are_relative_posix(paths: pd.Series) -> pd.Series:
    """Return which paths (N,) are; a block of them is in memory as Python's text at a time."""
    relative = np.fromiter(map(_is_relative_posix, cells(paths)), bool, len(paths))
    return pd.Series(relative, paths.index)


def _is_relative_posix(path: str) -> bool:
    if path[:1] not in ("", ".", "/") and "\\" not in path and ".." not in path:
        return True
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/")
