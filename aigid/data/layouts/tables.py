"""Layouts with tables that name images and their labels; trees are written from the datasets' descriptions."""

import re
import zlib
from collections.abc import Callable, Iterator
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.limits import POINTER, Budget
from aigid.core.paths import AnyPath
from aigid.data.layouts import FileTree, ManifestRow, has_image_suffix, manifest_row
from aigid.images import archives

NAME_COLUMNS = (
    *("path", "filename", "file_name", "image", "image_name", "img_name", "img", "file"),
    *("name", "image_id", "id"),
)
COMMUNITY_FORENSICS = (
    "Parquet tables, such as data/CompEval-00000-of-00413.parquet, with image_data, label, model_name and real_source"
)
EXTRA_COLUMNS, BFREE_COLUMNS = ("source", "group", "caption"), {"filename", "label", "source_id"}
LABEL_COLUMNS = ("label", "typ", "target", "is_fake", "class", "gt")
REAL_WORDS = ("0", "0.0", "real", "nature", "false")
FAKE_WORDS = ("1", "1.0", "fake", "ai", "generated", "true")


MAX_COLUMNS = 2**14
MAX_DEPTH = 64  # of nested elements
MAX_NESTING = 4  # elements above one that may belong to a row or a string
WORKBOOK_ERRORS = (
    *(BadZipFile, ElementTree.ParseError, zlib.error, OSError, MemoryError, OverflowError),
    *(LookupError, ValueError, EOFError, StopIteration, RuntimeError),
)
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


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
            cell = f"{path}: {tables.row_label(number)}, column {label}"
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
    name); optional ``generator``, ``split`` (else test), ``source``, ``group``, ``caption``.
    """
    paths = [path for path in tree.others if "/" not in path and path.endswith(tables.SUFFIXES)]
    if len(paths) > 1:
        raise InputError(f"{tree.root}: layout csv wants one .csv or .parquet file in it, found {', '.join(paths)}")
    for table in paths:
        for path, label, generator, cells in iter_labels(tree, table):
            extra = {column: cells[column] for column in EXTRA_COLUMNS if column in cells}
            yield manifest_row(path, label, generator or "unknown", cells.get("split") or "test", **extra)


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
        if table.count("/") < 2 and table.endswith(".csv") and _header(tree.root / table) >= BFREE_COLUMNS:
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


def _header(path: AnyPath) -> set[str]:
    with path.open("r", newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        return set(file.readline().strip().split(","))


def read_workbook(path: AnyPath) -> pd.DataFrame:
    """Return the first sheet of an Excel workbook (ECMA-376) as text under the names of its first row.

    Missing cells are empty, empty rows are left out; formulas and styles are not read. InputError where it is none, or
    would take more memory than ``Budget`` allows.
    """
    try:
        with path.open("rb") as file, ZipFile(file) as book:
            budget = Budget(path, file.seek(0, 2))
            sheet, strings = _first_sheet(book, budget), _shared_strings(book, budget)
            rows, width = [], 0
            for row in _iterate(book, sheet, "row", budget):
                cells = _cells(row, strings)
                width = max(width, len(cells))
                budget.spend(POINTER * len(cells) + sum(map(len, cells)))
                if any(cells):
                    rows.append(cells)
            budget.spend(POINTER * len(rows) * width)
    except InputError:
        raise
    except WORKBOOK_ERRORS as error:
        raise InputError(f"{path}: not an Excel workbook (.xlsx): {error!r}") from None
    if not rows:
        raise InputError(f"{path}: no rows")
    header, *body = [row + [""] * (width - len(row)) for row in rows]
    return pd.DataFrame(body, columns=header, dtype=object)


def _iterate(book: ZipFile, part: str, name: str, budget: Budget) -> Iterator[ElementTree.Element]:
    """Yield the elements of that local name, each forgotten when the next is read."""
    budget.spend(book.getinfo(part).file_size, part)
    with book.open(part) as file:
        open_tags: list[ElementTree.Element] = []
        for event, element in ElementTree.iterparse(file, ("start", "end")):
            if event == "start":
                open_tags.append(element)
                if len(open_tags) > MAX_DEPTH or len(open_tags[-2:][0]) > MAX_COLUMNS:
                    raise ValueError(f"{part}: more than {MAX_COLUMNS} elements in one, or {MAX_DEPTH} nested")
                continue
            open_tags.pop()
            if element.tag.rpartition("}")[2] == name:
                yield element
            if not any(parent.tag.rpartition("}")[2] == name for parent in open_tags[-MAX_NESTING:]):
                element.clear()
                if open_tags:
                    open_tags[-1].remove(element)


def _first_sheet(book: ZipFile, budget: Budget) -> str:
    """Return the part that holds the first sheet: the workbook names a relation, the relation names the part."""
    name = next(_iterate(book, "xl/workbook.xml", "sheet", budget)).attrib[RELATION]
    relations = _iterate(book, "xl/_rels/workbook.xml.rels", "Relationship", budget)
    target = next(each.attrib["Target"] for each in relations if each.attrib["Id"] == name)
    return target[1:] if target.startswith("/") else f"xl/{target}"


def _shared_strings(book: ZipFile, budget: Budget) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    strings = []
    for item in _iterate(book, "xl/sharedStrings.xml", "si", budget):
        strings.append(_text(item))
        budget.spend(POINTER)
    return strings


def _cells(row: ElementTree.Element, strings: list[str]) -> list[str]:
    """Return the row's texts, each at the column that its reference (``B7``) names, else after the one before."""
    cells: list[str] = []
    for cell in row.iterfind("{*}c"):
        column = _column(cell.get("r", "")) or len(cells)
        if column >= MAX_COLUMNS or column < len(cells):
            raise ValueError(f"a cell stands at {cell.get('r')!r}")
        cells += [""] * (column - len(cells))
        value = cell.findtext("{*}v", "")
        kind = cell.get("t")
        cells.append(strings[int(value)] if kind == "s" else _text(cell) if kind == "inlineStr" else value)
    return cells


def _column(reference: str) -> int:
    """Return 0 for ``A7`` (and for none), 1 for ``B7``, 26 for ``AA7``."""
    number = 0
    for letter in re.sub("[^A-Z].*", "", reference)[:3]:
        number = 26 * number + ord(letter) - ord("A") + 1
    return max(number - 1, 0)


def _text(item: ElementTree.Element) -> str:
    """Return the text of a string or an inline cell, whose runs may differ in style; not its phonetic hints."""
    plain = item.findtext("{*}t") or item.findtext("{*}is/{*}t")
    return plain or "".join(run.findtext("{*}t", "") for run in item.iterfind(".//{*}r"))
