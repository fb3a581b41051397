"""Layouts with tables that name images and their labels; trees are written from the datasets' descriptions."""

from collections.abc import Callable, Iterator

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath
from aigid.core.scores import DATE
from aigid.data.layouts import FileTree, ManifestRow, has_image_suffix, manifest_row
from aigid.data.layouts.folders import SPLIT_FOLDERS
from aigid.data.layouts.workbook import read_workbook
from aigid.images import archives

NAME_COLUMNS = (
    *("path", "filename", "file_name", "image", "image_name", "img_name", "img", "file"),
    *("name", "image_id", "id"),
)
COMMUNITY_FORENSICS = (
    "Parquet tables, such as data/CompEval-00000-of-00413.parquet, with image_data, label, model_name and real_source"
)
EXTRA_COLUMNS, BFREE_COLUMNS = ("source", "group", "caption", DATE), {"filename", "label", "source_id"}
LABEL_COLUMNS = ("label", "typ", "target", "is_fake", "class", "gt")
REAL_WORDS = ("0", "0.0", "real", "nature", "false")
FAKE_WORDS = ("1", "1.0", "fake", "ai", "generated", "true")


def read(path: AnyPath) -> pd.DataFrame:
    """Return a .csv, .parquet or .xlsx table of text, its column names in lower case with ``_`` for blanks."""
    table = read_workbook(path) if path.suffix == ".xlsx" else tables.read(path, ())
    table = table.rename(columns=lambda name: name.strip().lower().replace(" ", "_"))
    if table.columns.has_duplicates:
        raise InputError(f"{path}: column {table.columns[table.columns.duplicated()][0]!r} stands twice")
    return table


def iter_labels(tree: FileTree, table_path: str) -> Iterator[tuple[str, int, str, dict[str, str]]]:
    """Yield the image's path, label, generator and all cells of each line of a table.

    A column ``typ`` tells ``real`` or the generator's name. Where no column names it, the generator is "".
    """
    path = tree.root / table_path
    table = read(path)
    name, label = (find_column(table, known, path) for known in (NAME_COLUMNS, LABEL_COLUMNS))
    resolve = path_resolver(tree, table_path.rpartition("/")[0])
    for number, cells in enumerate(records(table)):
        value = parse_label(cells[label])
        named = cells[label] if label == "typ" and value is None else ""
        if value is None and not named:
            cell = f"{path}: {tables.row_label(number, path)}, column {label}"
            raise InputError(f"{cell}: {cells[label]!r}: want 0/1 or real/fake")
        generator = "real" if value == 0 else cells.get("generator") or named
        yield resolve(cells[name]), int(value != 0), generator, cells


def records(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the cells of each row by column."""
    return [dict(zip(map(str, table), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def find_column(table: pd.DataFrame, known: tuple[str, ...], path: AnyPath) -> str:
    """Return the first of the ``known`` names that is a column."""
    for column in known:
        if column in table:
            return column
    raise InputError(f"{path}: no column {' or '.join(known)}; found {', '.join(table.columns)}")


def parse_label(value: str) -> int | None:
    """Return 0 for a word or number that means real, 1 for one that means generated, else None."""
    word = value.strip().lower()
    return 0 if word in REAL_WORDS else 1 if word in FAKE_WORDS else None


def path_resolver(tree: FileTree, folder: str) -> Callable[[str], str]:
    """Return where the images lie that a table in ``folder`` names.

    By their path from there, or, if it is a bare name that one image below has, by that, with or without suffix.
    A path that leads to no image is given as it is written, and will be a row that cannot be read.
    """
    start = f"{folder}/" if folder else ""
    by_name: dict[str, str] = {}
    for path in tree.images:
        if path.startswith(start):
            name = path.rpartition("/")[2]
            for key in (name, name.rpartition(".")[0]):
                by_name[key] = "" if key in by_name else path
    known = set(tree.images)

    def resolve(written: str) -> str:
        if start + written in known:
            return start + written
        written = written.replace("\\", "/").removeprefix("./")
        path = start + written
        if path in known or "/" in written:
            return path
        stem = written.rpartition(".")[0] if has_image_suffix(written) else written
        return by_name.get(written) or by_name.get(stem) or path

    return resolve


def csv_table(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield a row for each line of the only table in the folder.

    Its columns: ``path`` or ``filename``; ``label`` (0 or 1, real or fake) or ``typ`` (``real`` or the generator's
    name); optional ``generator``, ``split`` (else test), ``source``, ``group``, ``caption``, ``extra_date``.
    """
    paths = [path for path in tree.others if "/" not in path and path.endswith(tables.SUFFIXES)]
    if len(paths) > 1:
        raise InputError(f"{tree.root}: layout csv wants one .csv or .parquet file in it, found {', '.join(paths)}")
    for table in paths:
        for path, label, generator, cells in iter_labels(tree, table):
            extra = {column: cells[column] for column in EXTRA_COLUMNS if column in cells}
            split = cells.get("split") or "test"
            yield manifest_row(path, label, generator or "unknown", SPLIT_FOLDERS.get(split.lower(), split), **extra)


def synthwildx(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield SynthWildX (Cozzolino et al., 2024): images of X by three generators, all to test on.

    The tree is that of ClipBased-SyntheticImageDetection. An image that can no longer be fetched keeps its row.
    """
    for table in tree.others:
        if table in ("list.csv", "synthwildx/list.csv"):
            for path, label, generator, _ in iter_labels(tree, table):
                yield manifest_row(path, label, generator or "unknown", "test", source="x")


def bfree_online(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield B-Free's online set (Guillaro et al., CVPR 2025): viral images as re-shared, real and fake, to test on.

    All copies of one image have one ``source_id`` and are one ``group``. One that can no longer be fetched keeps its
    row.
    """
    for table in tree.others:
        if table.count("/") < 2 and table.endswith(".csv") and tables.header(tree.root / table) >= BFREE_COLUMNS:
            for path, label, _, cells in iter_labels(tree, table):
                yield manifest_row(path, label, "viral", "test", source="viral", group=cells["source_id"])


def community_forensics(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield the evaluation sets of Community Forensics (Park and Owens, CVPR 2025), all to test on.

    Hub's Parquet tables, whose images are read where they lie. A real has a ``model_name`` too, that of the fakes which
    it is set against: its ``source`` is its ``real_source``.
    """
    images = set(tree.images)
    for table in (path for path in tree.others if path.endswith(".parquet")):
        for row, cells in enumerate(archives.captions(tree.root / table)):
            path = f"{table}/image_data/{row:0{archives.DIGITS}}"
            if path not in images or not {"label", "model_name", "real_source"} <= set(cells):
                break
            if (label := parse_label(cells["label"])) is None:
                raise InputError(f"{tree.root / table}: row {row + 1}, column label: {cells['label']!r}: want 0 or 1")
            extra = {"source": "" if label else cells["real_source"], "caption": cells.get("prompt", "")}
            extra["extra_architecture"] = cells.get("architecture", "") if label else ""
            yield manifest_row(path, label, cells["model_name"] or "unknown", "test", **extra)
