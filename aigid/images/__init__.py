"""Image files: decoding, formats, headers, archives, hashes, properties; and their errors by name."""

import errno
import os
import re
import struct
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from aigid.core.errors import reason
from aigid.core.paths import AnyPath

Pixels = NDArray[np.uint8]  # (H, W, 3), or (H, W)

MEMBER_SEPARATOR = "::"  # between an archive and what lies in it
MEMBER = re.compile(rf"\.(tar|zip|parquet){MEMBER_SEPARATOR}", re.IGNORECASE)


def has_color(pixels: Pixels) -> bool:
    """Return whether the channels of (H, W, 3) differ anywhere."""
    return bool((pixels != pixels[..., :1]).any())


class Status(StrEnum):
    """The result of reading an image, at most 24 ASCII characters; all but ``ok`` say why there are no pixels."""

    OK = "ok"
    MISSING = "missing"
    NOT_A_FILE = "not_a_file"
    SYMLINK_LOOP = "symlink_loop"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    ZERO_SIZE = "zero_size"
    TOO_SMALL = "too_small"
    TOO_MANY_PIXELS = "too_many_pixels"
    DECOMPRESSION_BOMB = "decompression_bomb"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    OUT_OF_MEMORY = "out_of_memory"
    CHANGED = "changed"  # its sha256 is not the manifest's


STATUS_BY_ERRNO = {
    errno.ENOENT: Status.MISSING,
    errno.ENOTDIR: Status.MISSING,
    errno.EISDIR: Status.NOT_A_FILE,
    errno.ELOOP: Status.SYMLINK_LOOP,
    errno.EFBIG: Status.TOO_MANY_BYTES,
}


class ImageError(Exception):
    """An image without pixels: not a user's mistake, so its row stays and carries ``status``."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"{self.status}: {self.message}"


@dataclass(frozen=True)
class Unreadable:
    """An image without a header, or, in the sample, without pixels."""

    path: str
    status: str
    message: str


def classify_error(error: Exception) -> ImageError:
    """Return the ImageError for what a parser raised."""
    text = reason(error, 200, named=True)
    if isinstance(error, MemoryError):
        return ImageError(Status.OUT_OF_MEMORY, text)
    if "Decompressed data too large" in text or "Too much memory" in text or "bomb" in text:  # Pillow's own limits
        return ImageError(Status.DECOMPRESSION_BOMB, text)
    ends = EOFError | IndexError | struct.error
    if isinstance(error, ends) or isinstance(error.__cause__, ends) or "runcated" in text or "nd of file" in text:
        return ImageError(Status.TRUNCATED, text)
    return ImageError(Status.CORRUPT, text)


def is_member(path: AnyPath | str) -> bool:
    """Return whether a path leads into an archive, as ``shard_0.tar::images/a.jpg`` does, and is no file itself."""
    return MEMBER.search(str(path)) is not None and not os.path.lexists(str(path))
