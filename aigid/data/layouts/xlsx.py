"""The first sheet of an Excel workbook (ECMA-376) as text: enough for tables of labels, no formula, no style."""

import re
import zlib
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.paths import AnyPath

MAX_BYTES = 2**28  # of one unpacked part; nine thousand labels are about 1 MB
MAX_COLUMNS = 2**14
FAULTS = (
    BadZipFile,
    ElementTree.ParseError,
    LookupError,
    ValueError,
    EOFError,
    StopIteration,
    RuntimeError,
    zlib.error,
)
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read(path: AnyPath) -> pd.DataFrame:
    """Cells as text under the names of the first row, missing ones empty, empty rows left out."""
    try:
        with path.open("rb") as file, ZipFile(file) as book:
            sheet, strings = _parse(book, _first_sheet(book)), _shared_strings(book)
            rows = [_cells(row, strings) for row in sheet.iterfind(".//{*}sheetData/{*}row")]
    except FAULTS as error:
        raise InputError(f"{path}: not an Excel workbook (.xlsx): {error!r}") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise InputError(f"{path}: no rows")
    width = max(map(len, rows))
    header, *body = [row + [""] * (width - len(row)) for row in rows]
    return pd.DataFrame(body, columns=header, dtype=object)


def _parse(book: ZipFile, part: str) -> ElementTree.Element:
    size = book.getinfo(part).file_size
    if size > MAX_BYTES:
        raise ValueError(f"{part} unpacks to {size} bytes, limit {MAX_BYTES}")
    return ElementTree.fromstring(book.read(part))


def _first_sheet(book: ZipFile) -> str:
    """Return the part that holds the first sheet: the workbook names a relation, the relation names the part."""
    name = next(_parse(book, "xl/workbook.xml").iterfind(".//{*}sheet")).attrib[RELATION]
    relations = _parse(book, "xl/_rels/workbook.xml.rels")
    target = next(each.attrib["Target"] for each in relations if each.attrib["Id"] == name)
    return target[1:] if target.startswith("/") else f"xl/{target}"


def _shared_strings(book: ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_text(item) for item in _parse(book, "xl/sharedStrings.xml").iterfind("{*}si")]


def _cells(row: ElementTree.Element, strings: list[str]) -> list[str]:
    """Return the row's texts, each at the column that its reference (``B7``) names, else after the one before."""
    cells: list[str] = []
    for cell in row.iterfind("{*}c"):
        place = _column(cell.get("r", "")) or len(cells)
        if place >= MAX_COLUMNS or place < len(cells):
            raise ValueError(f"a cell stands at {cell.get('r')!r}")
        cells += [""] * (place - len(cells))
        value = cell.findtext("{*}v", "")
        kind = cell.get("t")
        cells.append(strings[int(value)] if kind == "s" else _text(cell) if kind == "inlineStr" else value)
    return cells


def _column(reference: str) -> int:
    """0 for ``A7`` (and for none), 1 for ``B7``, 26 for ``AA7``."""
    number = 0
    for letter in re.match("[A-Z]{0,3}", reference).group():
        number = 26 * number + ord(letter) - ord("A") + 1
    return max(number - 1, 0)


def _text(item: ElementTree.Element) -> str:
    """Return the text of a string or an inline cell, whose runs may differ in style; not its phonetic hints."""
    plain = item.findtext("{*}t") or item.findtext("{*}is/{*}t")
    return plain or "".join(run.findtext("{*}t", "") for run in item.iterfind(".//{*}r"))
