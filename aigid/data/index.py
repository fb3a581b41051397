"""From a folder of images to its manifest."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from aigid.data import manifest
from aigid.data.layouts import cifake, csv, realfake
from aigid.errors import InputError
from aigid.files import num_workers, sha256
from aigid.params import Settings
from aigid.seeding import seed_of

Rows = Callable[[Path], Iterator[dict[str, str | int]]]
LAYOUTS: dict[str, Rows] = {"cifake": cifake.rows, "csv": csv.rows, "realfake": realfake.rows}


class IndexSettings(Settings):
    """What of a dataset goes into its manifest."""

    layout: str
    val: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of train that becomes val where the layout has no val
    limit: Annotated[int, Field(ge=1)] | None = None  # images kept of each split and generator


def index(root: Path, settings: IndexSettings, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """The manifest of the images below ``root``, with their sha256, and the paths that could not be read.

    Which images become val, and which a limit keeps, depends only on the seed and on each image's group (or path).
    """
    if settings.layout not in LAYOUTS:
        raise InputError(f"unknown layout {settings.layout!r}; known: {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    table = pd.DataFrame(LAYOUTS[settings.layout](root))
    if table.empty:
        raise InputError(f"{root}: no image found in layout {settings.layout!r}")
    table = manifest.validate(table.sort_values("path"), str(root))
    _refuse_one_class(table, root)
    table = _hold_out(table, settings.val, seed)
    table = _limit(table, settings.limit, seed)
    return add_hashes(table.reset_index(drop=True), root)


def add_hashes(table: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, list[str]]:
    """The manifest with a ``sha256`` column, empty for the paths that could not be read, and those paths."""
    with ThreadPoolExecutor(num_workers()) as pool:
        digests = list(pool.map(lambda path: _digest(root / path), table["path"]))
    table = table.assign(sha256=digests)
    return table, table["path"][table["sha256"] == ""].tolist()


def describe(table: pd.DataFrame) -> str:
    """How many images each split has of each generator, a line for each."""
    counts = table.groupby(["split", "generator"], sort=True).size()
    return "\n".join(f"{split:5} {generator}: {count}" for (split, generator), count in counts.items())


def _refuse_one_class(table: pd.DataFrame, root: Path) -> None:
    if table["label"].nunique() == 1:
        word = "generated" if table["label"].iloc[0] else "real"
        raise InputError(f"{root}: one class only: all {len(table)} images are {word}")


def _hold_out(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    if share == 0 or (table["split"] == "val").any():
        return table
    draw = _keys(table).map(lambda key: seed_of("val", seed, key) / 2**63)
    return table.assign(split=table["split"].mask((table["split"] == "train") & (draw < share), "val"))


def _limit(table: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    if limit is None:
        return table
    order = _keys(table).map(lambda key: seed_of("limit", seed, key)).sort_values(kind="stable").index
    kept = table.loc[order].groupby(["split", "generator"]).head(limit)
    return kept.sort_values("path")


def _keys(table: pd.DataFrame) -> pd.Series:
    if "group" not in table:
        return table["path"]
    return table["group"].where(table["group"] != "", table["path"])


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return ""
