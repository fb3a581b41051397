"""Conversions between bytes and the unit scale on which operators compute, and operators that change the size."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3), RGB
Floats: TypeAlias = NDArray[np.float32]
RngOrNone: TypeAlias = np.random.Generator | None  # deterministic operators ignore it

LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601


def to_float(image: Pixels) -> Floats:
    """Return (H, W, 3) float32 in [0, 1]."""
    return np.asarray(image.astype(np.float32) / np.float32(255))


def to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 of unit values, clipped to [0, 1] and rounded to the nearest of 256 levels."""
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def luma(values: NDArray[Any]) -> Floats:
    """Return the brightness of unit RGB, (H, W) float32."""
    return np.asarray(values[..., 0] * LUMA[0] + values[..., 1] * LUMA[1] + values[..., 2] * LUMA[2])


def from_pil(image: Image.Image) -> Pixels:
    """Return the RGB bytes of a Pillow image."""
    return np.asarray(image.convert("RGB"))


def shift(values: NDArray[Any], dy: int, dx: int) -> NDArray[Any]:
    """Move ``values`` down by ``dy`` and right by ``dx`` pixels; the edge is repeated."""
    rows = np.clip(np.arange(values.shape[0]) - dy, 0, values.shape[0] - 1)
    columns = np.clip(np.arange(values.shape[1]) - dx, 0, values.shape[1] - 1)
    return values[rows[:, None], columns]


def low_resolution(image: Pixels, side: int, back: int, rng: RngOrNone = None) -> Pixels:
    """Resize to ``side`` x ``side``, then to ``back`` x ``back``, bilinear, aspect ignored."""
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return from_pil(small.resize((back, back), Image.Resampling.BILINEAR))


def centre_crop(image: Pixels, share: float, rng: RngOrNone = None) -> Pixels:
    """Crop the middle ``share`` of both sides, at least one pixel."""
    height, width = (max(1, round(share * side)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].copy()


def square(image: Pixels, side: int, rng: RngOrNone = None) -> Pixels:
    """Crop the largest centered square and resize it to ``side`` x ``side``, bicubic with antialiasing."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    crop = image[top : top + short, left : left + short]
    return from_pil(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))
