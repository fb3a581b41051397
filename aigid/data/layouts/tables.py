"""Tables that name images and their labels: which column is which, what a label says, where an image lies."""

from collections.abc import Callable, Iterator

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath
from aigid.data.layouts import xlsx
from aigid.data.layouts.base import FileTree, ManifestRow, has_image_suffix

SUFFIXES = (*tables.SUFFIXES, ".xlsx")
NAME_COLUMNS = (
    "path",
    "filename",
    "file_name",
    "image",
    "image_name",
    "img_name",
    "img",
    "file",
    "name",
    "image_id",
    "id",
)
LABEL_COLUMNS = ("label", "typ", "target", "is_fake", "class", "gt")
REAL_WORDS = ("0", "0.0", "real", "nature", "false")
FAKE_WORDS = ("1", "1.0", "fake", "ai", "generated", "true")


def read(path: AnyPath) -> pd.DataFrame:
    """A .csv, .parquet or .xlsx table of text, its column names in lower case with ``_`` for blanks."""
    table = xlsx.read(path) if path.suffix == ".xlsx" else tables.read(path, ())
    table = table.rename(columns=lambda name: name.strip().lower().replace(" ", "_"))
    if table.columns.has_duplicates:
        raise InputError(f"{path}: column {table.columns[table.columns.duplicated()][0]!r} stands twice")
    return table


def iter_labels(tree: FileTree, place: str) -> Iterator[tuple[str, int, str, dict[str, str]]]:
    """Of each line of the table at ``place``: its image's path, label, generator and all its cells.

    A column ``typ`` tells ``real`` or the generator's name. Where no column names it, the generator is "".
    """
    path = tree.root / place
    table = read(path)
    name, label = (find_column(table, known, path) for known in (NAME_COLUMNS, LABEL_COLUMNS))
    find = path_resolver(tree, place.rpartition("/")[0])
    for number, cells in enumerate(table.to_dict("records")):
        value = parse_label(cells[label])
        named = cells[label] if label == "typ" and value is None else ""
        if value is None and not named:
            where = f"{path}: {tables.row_label(number)}, column {label}"
            raise InputError(f"{where}: {cells[label]!r}: want 0/1 or real/fake")
        if value == 0:
            yield find(cells[name]), 0, "real", cells
        else:
            yield find(cells[name]), 1, cells.get("generator") or named, cells


def find_column(table: pd.DataFrame, known: tuple[str, ...], path: AnyPath) -> str:
    """The first of the ``known`` names that is a column."""
    for column in known:
        if column in table:
            return column
    raise InputError(f"{path}: no column {' or '.join(known)}; found {', '.join(table.columns)}")


def parse_label(value: str) -> int | None:
    """0 for a word or number that means real, 1 for one that means generated."""
    word = value.strip().lower()
    return 0 if word in REAL_WORDS else 1 if word in FAKE_WORDS else None


def path_resolver(tree: FileTree, folder: str) -> Callable[[str], str]:
    """Where the images lie that a table in ``folder`` names.

    By their path from there, or, if it is a bare name that one image below has, by that, with or without suffix.
    A path that leads to no image is given as it is written, and will be a row that cannot be read.
    """
    start = f"{folder}/" if folder else ""
    below: dict[str, str] = {}
    for path in tree.images:
        if path.startswith(start):
            name = path.rpartition("/")[2]
            for key in (name, name.rpartition(".")[0]):
                below[key] = "" if key in below else path
    known = set(tree.images)

    def find(written: str) -> str:
        written = written.replace("\\", "/").removeprefix("./")
        path = start + written
        if path in known or "/" in written:
            return path
        stem = written.rpartition(".")[0] if has_image_suffix(written) else written
        return below.get(written) or below.get(stem) or path

    return find


# A folder of images with one table that names them.

CSV_TABLE = (
    "one .csv or .parquet table with columns path (or filename) and label (or typ), beside the images that it names"
)
EXTRA_COLUMNS = ("source", "group", "caption")


def csv_table(tree: FileTree) -> Iterator[ManifestRow]:
    """One row a line of the only table in the folder.

    Its columns: ``path`` or ``filename``; ``label`` (0 or 1, real or fake) or ``typ`` (``real`` or the generator's
    name); optional ``generator``, ``split`` (else test), ``source``, ``group``, ``caption``.
    """
    found = [path for path in tree.others if "/" not in path and path.endswith(tables.SUFFIXES)]
    if len(found) > 1:
        raise InputError(f"{tree.root}: layout csv wants one .csv or .parquet file in it, found {', '.join(found)}")
    for table in found:
        for path, label, generator, cells in iter_labels(tree, table):
            yield {
                "path": path,
                "label": label,
                "generator": generator or "unknown",
                "split": cells.get("split") or "test",
                **{column: cells[column] for column in EXTRA_COLUMNS if column in cells},
            }


# NTIRE 2026 Robust AI-Generated Image Detection: shards of clean training images, each with its table of labels.
#
# Which of its 20 generators made a fake is not published. The names of the table's columns are not documented: they are
# told by the header. The tree is written from the description.

NTIRE_SHARDS = (
    "shard_<i>/images/<name>.jpg beside shard_<i>/labels.csv with columns for the image's name and its label (0, 1)"
)


def ntire_shards(tree: FileTree) -> Iterator[ManifestRow]:
    """One row a line of each ``labels.csv``; all of it is the train split."""
    for table in tree.others:
        match table.split("/"):
            case [*_, shard, "labels.csv"] if shard.startswith("shard_"):
                for path, label, generator, _ in iter_labels(tree, table):
                    yield {"path": path, "label": label, "generator": generator or "unknown", "split": "train"}


# Photographs and their reconstructions (DDA, SEF): ``real/`` and ``fake/``, matched by stem, to train on.
#
# The tree is that of DDA, written from the description.

ALIGNED_PAIRS = "[{train,val,test}/]real/<id>.<suffix> beside [{train,val,test}/]fake/<id>.<suffix>"
PAIR_LABELS = {"real": 0, "fake": 1}


def aligned_pairs(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image that has a partner; the two are one ``group``."""
    found = [(path, *place) for path in tree.images if (place := _place(path))]
    partners = {kind: {group for _, _, folder, group in found if folder == kind} for kind in PAIR_LABELS}
    for path, split, kind, group in found:
        if group in partners["real"] and group in partners["fake"]:
            yield {
                "path": path,
                "label": PAIR_LABELS[kind],
                "generator": "reconstruction" if PAIR_LABELS[kind] else "real",
                "split": split,
                "group": group,
            }


def _place(path: str) -> tuple[str, str, str] | None:
    """Split, ``real`` or ``fake``, and what a photograph shares with its reconstruction."""
    stem = path.rpartition(".")[0]
    match stem.split("/", 2):
        case [("train" | "val" | "test") as split, ("real" | "fake") as kind, name]:
            return split, kind, f"{split}/{name}"
    match stem.split("/", 1):
        case [("real" | "fake") as kind, name]:
            return "train", kind, name
    return None
