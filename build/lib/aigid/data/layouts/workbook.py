"""Excel workbooks (ECMA-376), the first sheet of each as a table of text."""

import re
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.limits import POINTER, Budget
from aigid.core.paths import AnyPath

MAX_COLUMNS = 2**14
MAX_DEPTH = 64  # of nested elements
MAX_NESTING = 4  # elements above one that may belong to a row or a string
WORKBOOK_ERRORS = (
    *(BadZipFile, ElementTree.ParseError, zlib.error, OSError, MemoryError, OverflowError),
    *(LookupError, ValueError, EOFError, StopIteration, RuntimeError),
)
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


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
