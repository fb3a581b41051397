"""Many texts in little memory: packed one after the other, or sorted by runs that lie on disk."""

import marshal
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, islice
from typing import IO, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from aigid.core.errors import InputError, os_errors
from aigid.core.files import cache_folder

RUN, PART = 2**18, 2**10  # texts that are sorted in memory, and read of a run, at once
LENGTH = 8  # bytes that say how long a part of a run is
T = TypeVar("T")
ENCODING = ("utf-8", "surrogatepass")  # bytes in the order of the texts


class Texts(Sequence[str]):
    """Texts that take 8 bytes each beside their own."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._data, self._ends = bytearray(), array("Q")
        self.extend(texts)

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self._data += text.encode(*ENCODING)
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        end = self._ends[index]
        index = index % len(self)
        return self._data[self._ends[index - 1] if index else 0 : end].decode(*ENCODING)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            yield self._data[start:end].decode(*ENCODING)
            start = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class SortedTexts:
    """Texts to be read in order, of which ``RUN`` are in memory; runs of others lie below ``$AIGID_CACHE``.

    InputError where the disk is full, or a run was cut short.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._block: list[str] = []
        self._runs: list[tuple[IO[bytes], int]] = []  # and their lengths
        self.extend(texts)

    def __del__(self) -> None:
        for file, _ in self._runs:
            with suppress(OSError):  # of what a full disk has refused before
                file.close()

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self._block.append(text)
        if len(self._block) >= RUN:
            self._write()

    def _write(self) -> None:
        self._block.sort()
        with os_errors(cache_folder()):
            cache_folder().mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=cache_folder())  # noqa: SIM115 (open until the texts are gone)
            self._runs.append((file, len(self._block)))
            for part in batches(self._block, PART):
                data = marshal.dumps(part)
                file.write(len(data).to_bytes(LENGTH, "little") + data)
            file.flush()
        self._block = []

    def __iter__(self) -> Iterator[str]:
        self._block.sort()
        runs: list[Iterable[str]] = [_read(file, num) for file, num in self._runs]
        return merge(*runs, self._block) if runs else iter(self._block)


def _read(file: IO[bytes], num: int) -> Iterator[str]:
    """Yield the ``num`` texts of a run."""
    at = 0
    while num > 0:
        file.seek(at)
        length = int.from_bytes(file.read(LENGTH), "little")
        data = file.read(length)
        if not length or len(data) < length:
            raise InputError(f"{cache_folder()}: a sorted run there was cut short, {num} texts before its end")
        part: list[str] = marshal.loads(data)
        at, num = at + LENGTH + length, num - len(part)
        yield from part


def batches(items: Iterable[T], num: int) -> Iterator[list[T]]:
    """Yield the items, ``num`` at a time."""
    rest = iter(items)
    while batch := list(islice(rest, num)):
        yield batch


def positions(texts: Iterable[str], among: Iterable[str], num: int) -> NDArray[np.int64]:
    """Return where each of ``num`` texts stands among others, both being ascending; -1 where it does not."""
    numbers, others = np.full(num, -1), enumerate(chain(among, [None]))
    at, other = next(others)
    for row, text in enumerate(texts):
        while other is not None and other < text:
            at, other = next(others)
        if other == text:
            numbers[row] = at
    return numbers
