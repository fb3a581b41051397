"""Tables that name images and their labels: which column is which, what a label says, where an image lies."""

from collections.abc import Callable, Iterator

import pandas as pd

from aigid.base import tables
from aigid.base.errors import InputError
from aigid.base.remote import Place
from aigid.data.layouts import xlsx
from aigid.data.layouts.walk import Tree, has_image_suffix

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
REAL = ("0", "0.0", "real", "nature", "false")
FAKE = ("1", "1.0", "fake", "ai", "generated", "true")


def read(path: Place) -> pd.DataFrame:
    """A .csv, .parquet or .xlsx table of text, its column names in lower case with ``_`` for blanks."""
    table = xlsx.read(path) if path.suffix == ".xlsx" else tables.read(path, ())
    table = table.rename(columns=lambda name: name.strip().lower().replace(" ", "_"))
    if table.columns.has_duplicates:
        raise InputError(f"{path}: column {table.columns[table.columns.duplicated()][0]!r} stands twice")
    return table


def lines(tree: Tree, place: str) -> Iterator[tuple[str, int, str, dict[str, str]]]:
    """Of each line of the table at ``place``: its image's path, label, generator and all its cells.

    A column ``typ`` tells ``real`` or the generator's name. Where no column names it, the generator is "".
    """
    path = tree.root / place
    table = read(path)
    name, label = (pick(table, known, path) for known in (NAME_COLUMNS, LABEL_COLUMNS))
    find = locator(tree, place.rpartition("/")[0])
    for number, cells in enumerate(table.to_dict("records")):
        value = label_of(cells[label])
        named = cells[label] if label == "typ" and value is None else ""
        if value is None and not named:
            where = f"{path}: {tables.place(number)}, column {label}"
            raise InputError(f"{where}: {cells[label]!r}: want 0/1 or real/fake")
        if value == 0:
            yield find(cells[name]), 0, "real", cells
        else:
            yield find(cells[name]), 1, cells.get("generator") or named, cells


def pick(table: pd.DataFrame, known: tuple[str, ...], path: Place) -> str:
    """The first of the ``known`` names that is a column."""
    for column in known:
        if column in table:
            return column
    raise InputError(f"{path}: no column {' or '.join(known)}; found {', '.join(table.columns)}")


def label_of(value: str) -> int | None:
    """0 for a word or number that means real, 1 for one that means generated."""
    word = value.strip().lower()
    return 0 if word in REAL else 1 if word in FAKE else None


def locator(tree: Tree, folder: str) -> Callable[[str], str]:
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
