"""One file format for a photograph and its fake: that of the photograph's own file, as far as Pillow writes it.

Both members are encoded here, by the same encoder with the same settings and without metadata, so that nothing around
the pixels tells them apart. A photograph that was a JPEG is written by its own tables on its own grid, where its
coefficients lie already, so that a second compression changes next to nothing; its fake is compressed by the same.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from math import lcm
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from aigid.images.decode import decode
from aigid.images.errors import ImageError, Status
from aigid.images.formats import read_bytes
from aigid.images.headers import Header, read_header

JPEG, PNG = (".jpg", ".jpeg"), (".png",)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")  # that Pillow writes


@dataclass(frozen=True)
class Encoding:
    """How both members of a pair are written."""

    suffixes: tuple[str, ...]  # of which the first goes behind a name that has none
    mode: Literal["L", "RGB"]
    options: dict[str, object]

    def name(self, path: str) -> str:
        """The photograph's path, with a suffix behind it where its own belongs to another format."""
        return path if path.lower().endswith(self.suffixes) else path + self.suffixes[0]

    def encode(self, pixels: np.ndarray) -> bytes:
        """(H, W, 3) uint8 as a file; a grey one keeps the luma alone."""
        buffer = BytesIO()
        Image.fromarray(pixels).convert(self.mode).save(buffer, **self.options)
        return buffer.getvalue()


def container_like(head: Header, pixels: np.ndarray, kind: Literal["own", "png"]) -> Encoding:
    """The container of a photograph with that header and those pixels (H, W, 3): JPEG as JPEG, all else as PNG.

    A photograph without colour makes both members grey, as a fake's faint colour would give it away.
    """
    mode = "RGB" if (pixels != pixels[..., :1]).any() else "L"
    if head.format != "JPEG" or kind == "png":
        return Encoding(PNG, mode, {"format": "PNG"})
    tables = [np.minimum(table, 255).tolist() for table in head.quantization_tables[: 1 if mode == "L" else 2]]
    subsampling = head.subsampling if head.subsampling in SUBSAMPLINGS else "4:2:0"
    return Encoding(JPEG, mode, {"format": "JPEG", "qtables": tables, "subsampling": subsampling})


# Photographs as the makers of fakes want them: cropped to whole blocks.

JPEG_BLOCK = 8  # px: a JPEG's, and the step of Stable Diffusion's latents


@dataclass(frozen=True)
class SourceImage:
    """The sha256 of a photograph's file, its header, and its cropped pixels (H, W, 3) uint8."""

    digest: str
    head: Header
    pixels: np.ndarray


def read(path: Path, multiple: int) -> SourceImage:
    """A photograph cropped to multiples of 8 px and of ``multiple``; ImageError also where nothing would be left."""
    content = read_bytes(path)
    pixels = crop(decode(content), lcm(JPEG_BLOCK, multiple))
    return SourceImage(hashlib.sha256(content).hexdigest(), read_header(content), pixels)


def crop(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """The middle (h, w, 3) of (H, W, 3), h and w multiples of ``multiple``, starting where a JPEG's block does.

    The middle proper would start up to 3 px further on, and the grid of an old JPEG, which the photograph shows, would
    lie elsewhere than the grid that its fake gets.
    """
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if not height or not width:
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(Status.TOO_SMALL, f"{found} px, want at least {multiple} x {multiple}")
    top, left = (
        (side - kept) // 2 // JPEG_BLOCK * JPEG_BLOCK for side, kept in zip(pixels.shape, (height, width), strict=False)
    )
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
