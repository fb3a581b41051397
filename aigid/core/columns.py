"""The columns of a table of text, collected block by block, as compact as their cells allow."""

import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
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
    Arrow refuses. Of a ``kind`` are ``category``, where few are distinct, and ``number``: float64 where every cell is
    as Python writes that number, or empty, so that what was written is known.
    """

    def __init__(self, cells: Sequence[Any] = (), kind: str = "") -> None:
        self._kind, self._parts = kind, list[Any]()
        self._numbers: dict[Any, int] = {}
        if cells:
            self.add(cells)

    def add(self, cells: Sequence[Any]) -> None:
        if self._kind == "number":
            if (part := _to_numbers(cells)) is not None:
                self._parts.append(part)
                return
            self._kind, parts, self._parts = "", self._parts, []
            for part in parts:
                self.add(["" if number != number else repr(number) for number in part.tolist()])
        if len(self._numbers) <= NUM_SHARED:
            numbers = [self._numbers.setdefault(cell, len(self._numbers)) for cell in cells]
            if len(self._numbers) <= NUM_SHARED:
                self._parts.append(np.array(numbers, np.int16))
                return
        part = np.array(cells, object)
        self._parts.append(_pack(part) if self._parts else part)

    def series(self, dtype: Any) -> pd.Series:
        """Return all cells, of ``dtype`` where they are Python's."""
        if self._kind == "number":
            return pd.Series(np.concatenate([np.empty(0), *self._parts]))
        few = self._kind == "category" and len(self._numbers) <= NUM_SHARED
        if few and not any(escape.has_surrogates(str(name)) for name in self._numbers):  # pandas hashes UTF-8
            numbers = {name: number for number, name in enumerate(sorted(self._numbers))}
            order = np.array([*map(numbers.get, self._numbers)], np.int8 if len(numbers) < 128 else np.int16)
            codes = np.concatenate([np.empty(0, np.int8), *(order[part] for part in self._parts)])
            return pd.Series(pd.Categorical.from_codes(codes, pd.Index([*numbers])))
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


def _to_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """Return the numbers that cells stand for, NaN where one is empty; None where one is written in another way."""
    try:
        numbers = [float(cell or "nan") for cell in cells]
    except ValueError:
        return None
    same = all(not cell or repr(number) == cell != "nan" for number, cell in zip(numbers, cells, strict=True))
    return np.array(numbers) if same else None


def unescaped(rows: list[list[str]]) -> Iterator[list[str]]:
    """Yield the cells of each column, as they were before a CSV."""
    for texts in zip(*rows, strict=True):
        yield [escape.read_csv_cell(text) if text[:1] == "'" else text for text in texts]


def from_records(records: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of records, missing cells empty; few of them are in memory as such. For ``kinds`` see above."""
    columns: dict[str, Column] = {}
    num = 0
    for block in batches(records, BLOCK):
        for name in dict.fromkeys(chain.from_iterable(block)):
            if name not in columns:
                columns[name] = Column([""] * num, kinds.get(name, ""))
        for name, column in columns.items():
            column.add([record.get(name, "") for record in block])
        num += len(block)
    return pd.DataFrame({name: column.series(object) for name, column in columns.items()}, copy=False)


def row_blocks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows, ``BLOCK`` at a time; of none one block."""
    for start in range(0, max(len(table), 1), BLOCK):
        yield table.iloc[start : start + BLOCK]


def cells(column: pd.Series) -> Iterator[Any]:
    """Yield the cells of a column, of which one block is in memory as Python's."""
    for start in range(0, len(column), BLOCK):
        yield from np.asarray(column.array[start : start + BLOCK], object).tolist()


def hashes(texts: Iterable[Hashable], num: int = -1) -> NDArray[np.int64]:
    """Return 64 bits for each of ``num`` texts (N,), the same for equal ones within a process."""
    return np.fromiter(map(hash, texts), np.int64, num)


def _pack(part: Any) -> Any:
    """Return cells as Arrow's text; as they are where they are it, it refuses them, or is not installed.

    They lie in the system's memory: Arrow's own pool keeps twice as much as blocks of this size need.
    """
    if not isinstance(part, np.ndarray):
        return part
    try:
        import pyarrow

        texts = pyarrow.array(part, pyarrow.large_string(), from_pandas=True, memory_pool=pyarrow.system_memory_pool())
    except (ImportError, UnicodeEncodeError):
        return part
    return pd.array(texts, pd.StringDtype("pyarrow", na_value=np.nan))


def release_memory() -> None:
    """Give what columns no longer take back to the system, where they are Arrow's."""
    if pyarrow := sys.modules.get("pyarrow"):
        pyarrow.system_memory_pool().release_unused()


def is_ascending(texts: pd.Series) -> bool:
    """Return whether each cell is greater than the one before it, so that none stands twice."""
    blocks = (texts.array[start : start + BLOCK + 1] for start in range(0, len(texts), BLOCK))
    return all(bool((block[1:] > block[:-1]).all()) for block in blocks)


def ranks(texts: pd.Series) -> NDArray[np.integer]:
    """Return a number (N,) for each cell, in the order of the texts."""
    if is_ascending(texts):
        return np.arange(len(texts), dtype=np.int32)
    if getattr(texts.dtype, "storage", "") != "pyarrow":
        return pd.factorize(texts, sort=True)[0]
    from pyarrow import compute

    return compute.rank(texts.array.__arrow_array__(), tiebreaker="dense").to_numpy().astype(np.int32) - np.int32(1)


def to_text(column: pd.Series) -> pd.Series:
    """Return the column as text, missing cells empty."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    column = column if isinstance(column.dtype, pd.StringDtype) else column.astype("str")
    return column.fillna("") if column.hasnans else column
