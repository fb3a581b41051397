"""Real images cropped for the generators, and one file format for an image and its fake."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from math import lcm
from typing import Any, Literal

import numpy as np
from PIL import Image

from aigid.aligned.generator import Pixels
from aigid.core.paths import AnyPath
from aigid.images.decode import decode
from aigid.images.errors import ImageError, Status
from aigid.images.formats import read_bytes
from aigid.images.headers import Header, read_header

JPEG, PNG = (".jpg", ".jpeg"), (".png",)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")  # that Pillow writes
JPEG_BLOCK = 8  # px: a JPEG's, and the step of Stable Diffusion's latents


@dataclass(frozen=True)
class Encoding:
    """How both members of a pair are written: by the same encoder and settings, without metadata."""

    suffixes: tuple[str, ...]  # of which the first is appended to a name that has none
    mode: Literal["L", "RGB"]
    options: dict[str, Any]

    def name(self, path: str) -> str:
        """Return the image's path, with a suffix appended where its own belongs to another format."""
        return path if path.lower().endswith(self.suffixes) else path + self.suffixes[0]

    def encode(self, pixels: Pixels) -> bytes:
        """Return (H, W, 3) uint8 as a file; a gray one has the luma alone."""
        buffer = BytesIO()
        Image.fromarray(pixels).convert(self.mode).save(buffer, **self.options)
        return buffer.getvalue()


def container_like(header: Header, pixels: Pixels, kind: Literal["own", "png"]) -> Encoding:
    """Return the encoding for an image with that header and pixels (H, W, 3): JPEG as JPEG, all else as PNG.

    A JPEG is written by its own tables on its own grid, where its coefficients lie already, so that a second
    compression changes next to nothing; its fake is compressed by the same. An image without color makes both members
    gray, as a fake's faint color would give it away.
    """
    mode: Literal["L", "RGB"] = "RGB" if (pixels != pixels[..., :1]).any() else "L"
    if header.format != "JPEG" or kind == "png":
        return Encoding(PNG, mode, {"format": "PNG"})
    tables = [np.minimum(table, 255).tolist() for table in header.quantization_tables[: 1 if mode == "L" else 2]]
    subsampling = header.subsampling if header.subsampling in SUBSAMPLINGS else "4:2:0"
    return Encoding(JPEG, mode, {"format": "JPEG", "qtables": tables, "subsampling": subsampling})


@dataclass(frozen=True)
class SourceImage:
    """The sha256 of a real image's file, its header, and its cropped pixels (H, W, 3) uint8."""

    digest: str
    header: Header
    pixels: Pixels


def read(path: AnyPath, size_multiple: int) -> SourceImage:
    """Read an image cropped to multiples of 8 px and of ``size_multiple``; ImageError where nothing would be left."""
    content = read_bytes(path)
    pixels = crop(decode(content), lcm(JPEG_BLOCK, size_multiple))
    return SourceImage(hashlib.sha256(content).hexdigest(), read_header(content), pixels)


def crop(pixels: Pixels, multiple: int) -> Pixels:
    """Return the middle (h, w, 3) of (H, W, 3), h and w multiples of ``multiple``, starting where a JPEG's block does.

    The exact middle would start up to 3 px further on, and the grid of an old JPEG, which the image shows, would lie
    elsewhere than the grid that its fake gets.
    """
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if not height or not width:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(Status.TOO_SMALL, f"{size} px, want at least {multiple} x {multiple}")
    top, left = (
        (side - cropped) // 2 // JPEG_BLOCK * JPEG_BLOCK
        for side, cropped in zip(pixels.shape, (height, width), strict=False)
    )
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
