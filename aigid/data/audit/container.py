"""What the file around the pixels tells: it must not know the label."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from typing import TypeVar
from zlib import crc32

import pandas as pd
from tqdm import tqdm

from aigid.base.files import num_workers
from aigid.data.reading.errors import ImageError, Unreadable
from aigid.data.reading.headers import Header, header

T = TypeVar("T")
R = TypeVar("R")
ABSENT = -1  # in place of a number
CONTAINER: dict[str, Callable[[Header], float | str]] = {
    "format": lambda head: head.format,
    "width": lambda head: head.width,
    "height": lambda head: head.height,
    "aspect": lambda head: round(head.width / head.height, 4),
    "JPEG quality": lambda head: head.quality or ABSENT,
    "JPEG table": lambda head: _fingerprint(head.tables) if head.tables else "none",
    "chroma subsampling": lambda head: head.subsampling or "none",
    "progressive": lambda head: "yes" if head.progressive else "no",
    "mode": lambda head: head.mode,
    "bit depth": lambda head: head.bits,
    "EXIF": lambda head: "yes" if head.exif else "no",
    "software": lambda head: head.software or "none",
    "ICC profile": lambda head: "yes" if head.icc else "no",
}
BYTES, PIXELS = "file size", "pixels"  # also in the table, for the shallow cues
SLICE = 64  # files that a thread takes at once


def describe(paths: Sequence[str], root: str) -> tuple[pd.DataFrame, list[Unreadable]]:
    """A column for each of ``CONTAINER``, ``BYTES`` and ``PIXELS``, a row for each path with a header, by position."""
    return to_table(in_threads(lambda path: _describe(path, root), paths, "headers"))


def in_threads(work: Callable[[T], R], items: Sequence[T], name: str) -> list[R]:
    """Return ``work`` of each item in order; a thread takes ``SLICE`` of them at once."""
    slices = [items[start : start + SLICE] for start in range(0, len(items), SLICE)]
    with ThreadPoolExecutor(num_workers()) as pool:
        done = chain.from_iterable(pool.map(lambda part: [work(item) for item in part], slices))
        return list(tqdm(done, total=len(items), desc=name, unit="file", disable=None))


def to_table(rows: Sequence[dict | Unreadable]) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the headers by position, and the files that have none."""
    headers = {place: row for place, row in enumerate(rows) if isinstance(row, dict)}
    table = pd.DataFrame.from_dict(headers, orient="index", columns=[*CONTAINER, BYTES, PIXELS])
    return table, [row for row in rows if isinstance(row, Unreadable)]


def _describe(path: str, root: str) -> dict | Unreadable:
    try:
        return properties(header(f"{root}/{path}"))
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message)


def properties(head: Header) -> dict[str, float | str]:
    """Return ``CONTAINER``, ``BYTES`` and ``PIXELS`` of a file."""
    values = {name: value(head) for name, value in CONTAINER.items()}
    return values | {BYTES: head.num_bytes, PIXELS: head.width * head.height}


@lru_cache(maxsize=4096)
def _fingerprint(tables: tuple[tuple[int, ...], ...]) -> str:
    return f"{crc32(repr(tables).encode()):08x}"
