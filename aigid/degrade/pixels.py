"""Between the bytes of an image and the unit scale on which operators compute."""

from typing import TypeAlias

import numpy as np
from PIL import Image

Pixels: TypeAlias = np.ndarray  # (H, W, 3) uint8, RGB
Plane: TypeAlias = np.ndarray  # (H, W) float32
Rng: TypeAlias = np.random.Generator | None  # an operator without chance takes it and leaves it

LUMA = np.float32((0.299, 0.587, 0.114))  # ITU-R BT.601


def unit(image: Pixels) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def stored(values: np.ndarray) -> np.ndarray:
    """uint8 of unit values: clipped to [0, 1] and rounded to the nearest of 256 levels."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def luma(values: np.ndarray) -> Plane:
    """Brightness of unit RGB, (H, W) float32."""
    return values[..., 0] * LUMA[0] + values[..., 1] * LUMA[1] + values[..., 2] * LUMA[2]


def from_pil(image: Image.Image) -> Pixels:
    """The RGB bytes of a Pillow image."""
    return np.asarray(image.convert("RGB"))


def shifted(values: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """``values`` moved down by ``dy`` and right by ``dx`` pixels; the edge is repeated."""
    rows = np.clip(np.arange(values.shape[0]) - dy, 0, values.shape[0] - 1)
    columns = np.clip(np.arange(values.shape[1]) - dx, 0, values.shape[1] - 1)
    return values[rows[:, None], columns]
