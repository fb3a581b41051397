"""Photographs as the makers of fakes want them: cropped to whole blocks."""

import hashlib
from dataclasses import dataclass
from math import lcm
from pathlib import Path

import numpy as np

from aigid.data.reading.errors import ImageError, Status
from aigid.data.reading.formats import read_bytes
from aigid.data.reading.headers import Header, header
from aigid.data.reading.images import decode

BLOCK = 8  # px: a JPEG's, and the step of Stable Diffusion's latents


@dataclass(frozen=True)
class Photograph:
    """The sha256 of a photograph's file, its header, and its cropped pixels (H, W, 3) uint8."""

    digest: str
    head: Header
    pixels: np.ndarray


def read(path: Path, multiple: int) -> Photograph:
    """A photograph cropped to multiples of 8 px and of ``multiple``; ImageError also where nothing would be left."""
    content = read_bytes(path)
    pixels = crop(decode(content), lcm(BLOCK, multiple))
    return Photograph(hashlib.sha256(content).hexdigest(), header(content), pixels)


def crop(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """The middle (h, w, 3) of (H, W, 3), h and w multiples of ``multiple``, starting where a JPEG's block does.

    The middle proper would start up to 3 px further on, and the grid of an old JPEG, which the photograph shows, would
    lie elsewhere than the grid that its fake gets.
    """
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if not height or not width:
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(Status.TOO_SMALL, f"{found} px, want at least {multiple} x {multiple}")
    top, left = ((side - kept) // 2 // BLOCK * BLOCK for side, kept in zip(pixels.shape, (height, width), strict=False))
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])
