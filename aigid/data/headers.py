"""What a file's header tells without decoding a pixel: format, size, depth, JPEG tables, metadata."""

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aigid.data.formats import ImageError, Status, format_of, open_file, open_lazily

MAX_SEGMENTS = 10_000
# ITU-T T.81, table K.1: the luminance table that the IJG's quality scale multiplies.
LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56]
    + [14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92]
    + [49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)


@dataclass(frozen=True, slots=True)
class Header:
    """A file's outside. ``width`` and ``height`` are as stored, before EXIF orientation; ``mode`` is Pillow's name."""

    format: str
    num_bytes: int
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 8
    progressive: bool = False
    subsampling: str = ""
    tables: tuple[tuple[int, ...], ...] = ()
    exif: bool = False
    software: str = ""
    icc: bool = False

    @property
    def quality(self) -> int | None:
        """The JPEG quality 1 to 100 of the IJG scale whose luminance table is nearest; None without tables."""
        return estimate_quality(self.tables[0]) if self.tables else None


def header(source: Path | str | bytes) -> Header:
    """The header of a file or of a file's bytes; ImageError where there is none."""
    with closing(BytesIO(source) if isinstance(source, bytes) else open_file(source)) as file:
        try:
            name = format_of(file.read(1024))
            num_bytes = file.seek(0, 2)
            file.seek(0)
            found = Header(name, num_bytes, **PARSERS.get(name, _by_pillow)(file))
        except ImageError:
            raise
        except (EOFError, IndexError, struct.error):
            raise ImageError(Status.TRUNCATED, "ends within the header") from None
        except Exception as error:  # parsers of hostile bytes raise anything
            raise ImageError(Status.CORRUPT, " ".join(f"{type(error).__name__} {error}".split())[:200]) from None
    if found.width == 0 or found.height == 0:
        raise ImageError(Status.ZERO_SIZE, f"{found.width} x {found.height}")
    return found
