"""From a folder of images to its manifest."""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, compress
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from aigid.core import manifest, tables
from aigid.core.columns import BLOCK, Column, cells, from_records, is_ascending, release_memory, row_blocks
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.core.seeding import derive_seed
from aigid.core.texts import SortedTexts, Texts, batches, positions
from aigid.data.layouts import FileTree, Layout, layout_error, scan, unmatched_images
from aigid.data.layouts.members import Members, unpack_archives, without_archives
from aigid.data.layouts.registry import LAYOUTS
from aigid.images import archives
from aigid.images.hashing import with_hashes

CATEGORIES = ("label", "generator", "split", "source")  # columns of few distinct cells


class IndexSettings(Settings):
    """What of a dataset goes into its manifest.

    A dataset of several has ``parts`` in folders of their names, or links to them, and no settings besides.
    """

    layout: str = ""
    val: Annotated[float, Field(ge=0, lt=1)] = 0.1  # share of train that becomes val where the layout has no val
    test: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of train that becomes test where the layout has no test
    max_images: Annotated[int, Field(ge=1)] | None = None  # of each split and generator (see `index` on reals)
    archives: bool = False  # images are also looked for inside tar, zip and Parquet files
    held_out_generators: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the named, which go to test alone
    seen: list[str] | None = None  # generators that train and val keep, with their reals; all where it is None
    role: manifest.Role | None = None  # nothing may learn from it; all is test
    parts: dict[str, "IndexSettings"] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.parts and (others := sorted(self.model_fields_set - {"parts"})):
            raise ValueError(f"parts: each has settings of its own; found {', '.join(others)} beside them")
        if not self.parts and not self.layout:
            raise ValueError("want a layout, or parts")
        return self


def build_manifest(
    root: AnyPath, settings: IndexSettings, seed: int, log: Callable[[str], object] = lambda line: None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest of the images below ``root``, with their sha256, and the paths that could not be read.

    Which images become val, and which a limit keeps, depends only on the seed and on each image's group (or path).
    A limit keeps as many reals of each ``source`` that fakes have too, as they are evaluated with them. ``log`` gets a
    line on what below ``root`` is left out.
    """
    if settings.parts:
        return _build_union(root, settings.parts, seed, log)
    unreadable: list[str] = []
    blocks = _hashed(_listed(root, settings, seed, log), root, unreadable)
    return pd.concat(blocks, ignore_index=True), unreadable


def write_manifest(
    path: Path, root: AnyPath, settings: IndexSettings, seed: int, log: Callable[[str], object] = lambda line: None
) -> tuple[str, list[str]]:
    """Write what ``build_manifest`` returns, hashed block by block; return the counts and the unreadable paths."""
    tables.check_suffix(path)
    unreadable: list[str] = []
    if settings.parts:
        table, unreadable = _build_union(root, settings.parts, seed, log)
    else:
        table = _listed(root, settings, seed, log)
        blocks = _hashed(table, root, unreadable)
        if path.suffix == ".csv" and manifest.ROLE not in table:  # twins of the images with a role may be anywhere
            tables.write_csv(blocks, path, tables.has_carriage_return(table))
            return count_images(table), unreadable
        table = pd.concat(blocks, ignore_index=True)
    manifest.write(table, path)
    return count_images(table), unreadable


def _hashed(table: pd.DataFrame, root: AnyPath, unreadable: list[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows with their sha256, block by block."""
    texts = dict.fromkeys(table.select_dtypes("category"), object)
    for block in row_blocks(table):
        hashed = manifest.sort_columns(with_hashes(block.astype(texts), root))
        unreadable += hashed["path"][hashed["sha256"] == ""].tolist()
        yield hashed


def _listed(root: AnyPath, settings: IndexSettings, seed: int, log: Callable[[str], object]) -> pd.DataFrame:
    """Return the manifest without hashes."""
    layout, (tree, members) = _tree(root, settings)
    table = from_records(layout.iter_rows(tree), dict.fromkeys(CATEGORIES, "category"))
    if table.empty:
        raise InputError(layout_error(settings.layout, LAYOUTS, tree))
    table = manifest.validate(table, str(root))
    if not is_ascending(table["path"]):
        table = table.sort_values("path", ignore_index=True)
    numbers = positions(cells(table["path"]), tree.images, len(table))
    outside = np.ones(len(tree.images), bool)
    outside[numbers[numbers >= 0]] = False
    left_out = unmatched_images(without_archives(tree, members), Texts(compress(tree.images, outside)))
    _refuse_one_class(table, root, layout, left_out)
    if left_out:
        log(left_out)
    del tree
    if members.archives:
        table = _located(table, members, numbers)
    del members, numbers, outside
    release_memory()
    table["split"] = pd.Categorical(table["split"], sorted(manifest.SPLITS))
    table = _restrict_generators(manifest.with_role(table, settings.role, log), settings.seen, root)
    table = _split_off(table, "test", settings.test, seed)
    table = _hold_out_generators(table, settings.held_out_generators, seed, log)
    table = _split_off(table, "val", settings.val, seed)
    return _subsample(table, settings.max_images, seed).reset_index(drop=True)


def _tree(root: AnyPath, settings: IndexSettings) -> tuple[Layout, tuple[FileTree, Members]]:
    if settings.layout not in LAYOUTS:
        raise InputError(f"unknown layout {settings.layout!r}; known: {', '.join(LAYOUTS)}")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    layout = LAYOUTS[settings.layout]
    return layout, unpack_archives(scan(root), archives.SUFFIXES if settings.archives else layout.archives)


def _located(table: pd.DataFrame, members: Members, numbers: NDArray[np.int64]) -> pd.DataFrame:
    """Return the rows by the paths where their images lie, and in the order of those."""
    rows = zip(cells(pd.Series(numbers)), cells(table.pop("path")), strict=True)
    paths = SortedTexts(f"{members.locate(number, path)}\0{row}" for row, (number, path) in enumerate(rows))
    order, column = np.empty(len(table), np.int32), Column()
    release_memory()
    for start, block in enumerate(batches(paths, BLOCK)):
        located = [path.rpartition("\0") for path in block]
        column.add([path for path, _, _ in located])
        order[start * BLOCK :][: len(block)] = [int(row) for _, _, row in located]
    table = table.iloc[order].reset_index(drop=True)
    return table.assign(path=column.series(object))


def _build_union(
    root: AnyPath, parts: Mapping[str, IndexSettings], seed: int, log: Callable[[str], object]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifests of several datasets as one, whose paths and groups begin with the part's name."""
    _refuse_one_folder(root, list(parts))
    frames: list[pd.DataFrame] = []
    unreadable: list[str] = []
    for name, settings in parts.items():
        table, failed = build_manifest(root / name, settings, seed, log)
        if "group" in table:
            table["group"] = table["group"].mask(table["group"] != "", f"{name}/" + table["group"])
        frames.append(table.assign(path=f"{name}/" + table["path"]))
        unreadable += [f"{name}/{path}" for path in failed]
    table = pd.concat(frames, ignore_index=True).fillna("").sort_values("path", ignore_index=True)
    labels = table[table["sha256"] != ""].drop_duplicates(["sha256", "label"])
    twice = labels[labels.duplicated("sha256", keep=False)].sort_values("sha256", kind="stable")["path"].tolist()
    if twice:
        raise InputError(f"{root}: one image has two labels: {twice[0]} and {twice[1]}")
    return manifest.validate(table, str(root)), unreadable


def _refuse_one_folder(root: AnyPath, names: list[str]) -> None:
    folders = {name: (root / name).resolve() for name in names} if isinstance(root, Path) else {}
    for (first, path), (second, other) in combinations(folders.items(), 2):
        if path.is_relative_to(other) or other.is_relative_to(path):
            raise InputError(f"{root}: parts {first} and {second} are one folder, {path}: its images would count twice")


def count_images(table: pd.DataFrame) -> str:
    """Return how many images each split has of each generator, a line for each."""
    counts = table.groupby(["split", "generator"], as_index=False).size()
    return "\n".join(f"{row['split']:5} {row['generator']}: {row['size']}" for row in counts.to_dict("records"))


def _refuse_one_class(table: pd.DataFrame, root: AnyPath, layout: Layout, left_out: str) -> None:
    if table["label"].nunique() == 1 and not layout.one_class:
        only = f"one class only: all {len(table)} images are {'generated' if table['label'].iloc[0] else 'real'}"
        lines = filter(None, (only, left_out, f"the layout is {layout.pattern}"))
        raise InputError(f"{root}: {'; '.join(lines)}")


def _restrict_generators(table: pd.DataFrame, seen: list[str] | None, root: AnyPath) -> pd.DataFrame:
    """Return the table without train and val images of other generators, and of the reals of those alone."""
    if seen is None:
        return table
    known = set(table["generator"]) - {"real"}
    if unknown := sorted(set(seen) - known):
        raise InputError(f"{root}: seen: no generator {unknown[0]!r}; found {', '.join(sorted(known))}")
    paired, is_seen = _shared_source(table), table["generator"].isin(seen)
    reals = (table["label"] == 0) & ((paired == "") | paired.isin(set(paired[is_seen])))
    return table[(table["split"] == "test") | is_seen | reals]


def _split_off(table: pd.DataFrame, split: str, share: float, seed: int) -> pd.DataFrame:
    if share == 0 or (table["split"] == split).any():
        return table
    chosen = (table["split"] == "train").to_numpy(copy=True)
    keys = compress(cells(_keys(table)), chosen)  # not taken from the column, which Arrow would copy as a whole
    draw = np.fromiter((derive_seed(split, seed, key) for key in keys), float, chosen.sum())
    chosen[chosen] = draw / 2**63 < share
    return table.assign(split=table["split"].mask(chosen, split))


def _hold_out_generators(table: pd.DataFrame, share: float, seed: int, log: Callable[[str], object]) -> pd.DataFrame:
    """Return the table with all images of some generators to test on; as it is where labels name fewer than two."""
    if share == 0:
        return table
    names = sorted(set(table["generator"]) - {"real", "unknown"}, key=lambda name: derive_seed("generator", seed, name))
    if len(names) < 2:
        log("held_out_generators: the labels name fewer than two generators; none is held out")
        return table
    held_out = names[: min(max(round(share * len(names)), 1), len(names) - 1)]
    log(f"held out from training: {', '.join(sorted(held_out))}")
    return table.assign(split=table["split"].mask(table["generator"].isin(held_out), "test"))


def _subsample(table: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    if limit is None:
        return table
    order = _keys(table).map(lambda key: derive_seed("limit", seed, key)).sort_values(kind="stable").index
    return table.loc[order].groupby(["split", "generator", _shared_source(table)]).head(limit).sort_values("path")


def _shared_source(table: pd.DataFrame) -> pd.Series:
    """Return the source of each image where fakes and reals share it, else ""."""
    if "source" not in table:
        return pd.Series("", index=table.index)
    return table["source"].astype("str").where(table["source"].isin(table["source"][table["label"] == 1]), "")


def _keys(table: pd.DataFrame) -> pd.Series:
    """Return what decides over each image: its group or path."""
    return table["group"].where(table["group"] != "", table["path"]) if "group" in table else table["path"]
