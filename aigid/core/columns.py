"""The columns of a table of text, collected block by block, as compact as their cells allow."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import escape
from aigid.core.texts import batches

BLOCK = 2**16  # rows that are lists of cells at a time
NUM_SHARED = 2**14  # distinct cells of a column that are one object each


class Column:
    """Collects cells: numbers stand for few distinct ones, of which equal ones will be one object; many are Arrow's.

    Arrow's text is a third as large. A column of one block stays Python's, and one with a cell that is not UTF-8, which
    Arrow refuses.
    """

    def __init__(self, cells: Sequence[Any] = ()) -> None:
        self._parts: list[Any] = []
        self._numbers: dict[Any, int] = {}
        if cells:
            self.add(cells)

    def add(self, cells: Sequence[Any]) -> None:
        if len(self._numbers) <= NUM_SHARED:
            numbers = [self._numbers.setdefault(cell, len(self._numbers)) for cell in cells]
            if len(self._numbers) <= NUM_SHARED:
                self._parts.append(np.array(numbers, np.int16))
                return
        part = np.array(cells, object)
        self._parts.append(_pack(part) if self._parts else part)

    def series(self, dtype: Any) -> pd.Series:
        """Return all cells, of ``dtype`` where they are Python's."""
        texts = np.array([*self._numbers, None], object)[:-1]
        parts = [texts[part] if getattr(part, "dtype", None) == np.int16 else part for part in self._parts]
        self._parts.clear()
        if len({type(part) for part in parts}) == 2:
            parts[:] = map(_pack, parts)
        if parts and not any(isinstance(part, np.ndarray) for part in parts):
            return pd.Series(parts[0]._concat_same_type(parts))
        return pd.Series(
            np.concatenate([np.empty(0, object), *(np.asarray(part, object) for part in parts)]), dtype=dtype
        )


def unescaped(rows: list[list[str]]) -> Iterator[list[str]]:
    """Yield the cells of each column, as they were before a CSV."""
    for texts in zip(*rows, strict=True):
        yield [escape.read_csv_cell(text) if text[:1] == "'" else text for text in texts]


def from_records(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of records, missing cells empty; few of them are in memory as such."""
    columns: dict[str, Column] = {}
    num = 0
    for block in batches(records, BLOCK):
        for name in dict.fromkeys(chain.from_iterable(block)):
            if name not in columns:
                columns[name] = Column([""] * num)
        for name, column in columns.items():
            column.add([record.get(name, "") for record in block])
        num += len(block)
    return pd.DataFrame({name: column.series(object) for name, column in columns.items()})


def row_blocks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows, ``BLOCK`` at a time; of none one block."""
    for start in range(0, max(len(table), 1), BLOCK):
        yield table.iloc[start : start + BLOCK]


def cells(column: pd.Series) -> Iterator[Any]:
    """Yield the cells of a column, of which one block is in memory as Python's."""
    for start in range(0, len(column), BLOCK):
        yield from column.array[start : start + BLOCK].tolist()


def _pack(part: Any) -> Any:
    """Return cells as Arrow's text; as they are where they are it, it refuses them, or is not installed."""
    try:
        packed = pd.array(part, pd.StringDtype("pyarrow", na_value=np.nan)) if isinstance(part, np.ndarray) else part
    except (ImportError, UnicodeEncodeError):
        return part
    return packed


def is_ascending(texts: pd.Series) -> bool:
    """Return whether each cell is greater than the one before it, so that none stands twice."""
    blocks = (texts.array[start : start + BLOCK + 1] for start in range(0, len(texts), BLOCK))
    return all(bool((block[1:] > block[:-1]).all()) for block in blocks)


def ranks(texts: pd.Series) -> NDArray[np.integer]:
    """Return a number (N,) for each cell, in the order of the texts."""
    return np.arange(len(texts), dtype=np.int32) if is_ascending(texts) else pd.factorize(texts, sort=True)[0]


def to_text(column: pd.Series) -> pd.Series:
    """Return the column as text, missing cells empty."""
    column = column if isinstance(column.dtype, pd.StringDtype) else column.astype("str")
    return column.fillna("") if column.hasnans else column
