"""Operators that resize an image or move its pixels, and looks of old film and odd cameras.

The sources of the looks publish ranges only; each docstring states the form used here.
"""

from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates, sobel, uniform_filter1d

from aigid.degradations.pixels import Pixels, RngOrNone, from_pil, luma, to_float, to_uint8

LEAK = np.array([1.0, 0.55, 0.2], dtype=np.float32)
PHOSPHOR = np.array([0.15, 1.0, 0.25], dtype=np.float32)


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


def hflip(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Flip left and right."""
    return np.ascontiguousarray(image[:, ::-1])


def vflip(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Flip top and bottom."""
    return np.ascontiguousarray(image[::-1])


def color_shift(image: Pixels, distance: int, angle: float, rng: RngOrNone = None) -> Pixels:
    """Move green by ``distance`` px towards ``angle`` degrees and mix it in at edges (KADID).

    The weight is the Sobel magnitude of the luma over its 99th percentile, at most 1.
    """
    gray = luma(to_float(image))
    edges = np.hypot(sobel(gray, 0), sobel(gray, 1))
    weight = np.clip(edges / max(np.percentile(edges, 99), 1e-6), 0, 1)
    green = image[..., 1].astype(np.float32)
    moved = shift(green, -round(distance * sin(radians(angle))), round(distance * cos(radians(angle))))
    out = image.copy()
    out[..., 1] = np.rint(green + weight * (moved - green))
    return out


def pixel_jitter(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Read every pixel at a Gaussian offset of ``deviation`` px, bilinear (KADID's is bicubic)."""
    height, width = image.shape[:2]
    positions = np.mgrid[:height, :width] + np.float32(deviation) * rng.standard_normal((2, height, width), np.float32)
    planes = [map_coordinates(image[..., c], positions, np.float32, order=1, mode="nearest") for c in range(3)]
    return np.asarray(np.rint(np.stack(planes, axis=2)).astype(np.uint8))


def pixel_shuffle(image: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Permute a ``share`` of the 2x2 blocks at random."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    out = image.copy()
    blocks = out[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).swapaxes(1, 2).reshape(-1, 2, 2, 3)
    chosen = rng.permutation(len(blocks))[: round(share * len(blocks))]
    blocks[chosen] = blocks[np.roll(chosen, 1)]
    blocks = blocks.reshape(height, width, 2, 2, 3).swapaxes(1, 2)
    out[: 2 * height, : 2 * width] = blocks.reshape(2 * height, 2 * width, 3)
    return out


def digital_glitch(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Roll bands of rows, up to 5 % of the height each, sideways.

    There are 40 ``amount`` of them, sliding by at most ``amount`` of the width.
    """
    height, width = image.shape[:2]
    out = image.copy()
    for top, share, slide in rng.random((40, 3))[: round(40 * amount)]:
        rows = slice(int(top * height), int(top * height) + 1 + int(0.05 * share * height))
        out[rows] = np.roll(out[rows], round((2 * slide - 1) * amount * width), axis=1)
    return out


def color_bleed(image: Pixels, distance: int, rng: RngOrNone = None) -> Pixels:
    """Smear color (Cb and Cr) to the right over ``distance`` px; the luma stays."""
    planes = np.array(Image.fromarray(image).convert("YCbCr"))
    size = distance + 1
    chroma = planes[..., 1:].astype(np.float32)
    # The origin puts the window's right end on the pixel, so that it averages what lies to its left.
    planes[..., 1:] = np.rint(uniform_filter1d(chroma, size, axis=1, mode="nearest", origin=(size - 1) // 2))
    return from_pil(Image.fromarray(planes, "YCbCr"))


def ghosting(image: Pixels, dx: int, alpha: float, rng: RngOrNone = None) -> Pixels:
    """Mix in a second exposure, ``dx`` px to the right, with weight ``alpha``; the edge is repeated."""
    x = to_float(image)
    return to_uint8((1 - alpha) * x + alpha * shift(x, 0, dx))


def water_drops(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Add 100 ``amount`` round drops, 2 to 6 % of the short side wide, which show the scene upside down.

    A drop at c shows at c + d what lies at c - 2 d.
    """
    height, width = image.shape[:2]
    draws = rng.random((100, 3))
    out = image.copy()
    for row, column, size in draws[: round(100 * amount)]:
        cy, cx, radius = int(row * height), int(column * width), (0.01 + 0.02 * size) * min(height, width)
        reach = int(radius)
        for dy in range(-reach, reach + 1):
            span = int((radius**2 - dy**2) ** 0.5)
            dx = np.arange(max(-span, -cx), min(span, width - 1 - cx) + 1)
            if 0 <= cy + dy < height:
                out[cy + dy, cx + dx] = image[np.clip(cy - 2 * dy, 0, height - 1), np.clip(cx - 2 * dx, 0, width - 1)]
    return out


def fading(image: Pixels, strength: float, rng: RngOrNone = None) -> Pixels:
    """Return x + strength (f - x) with the faded print f = 0.3 + 0.6 luma: no color, no black, no white."""
    x = to_float(image)
    faded = 0.3 + 0.6 * luma(x)[..., None]
    return to_uint8(x + np.float32(strength) * (faded - x))


def light_leak(image: Pixels, strength: float, angle: float, rng: RngOrNone = None) -> Pixels:
    """Screen an orange glow from the rim at ``angle`` degrees: 1 - (1 - x)(1 - strength glow)."""
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    dy = (y + 0.5) / height - (0.5 - 0.5 * sin(radians(angle)))
    dx = (x + 0.5) / width - (0.5 + 0.5 * cos(radians(angle)))
    glow = np.exp(-(dy**2 + dx**2) / 0.25).astype(np.float32)[..., None] * LEAK
    return to_uint8(1 - (1 - to_float(image)) * (1 - np.float32(strength) * glow))


def night_vision(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Mix with a green tube image: amplified luma, Gaussian noise of 0.05, corners half as bright."""
    x = to_float(image)
    height, width = image.shape[:2]
    row, column = np.ogrid[:height, :width]
    distance = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
    tube = np.clip(1.4 * luma(x) + 0.05 * rng.standard_normal((height, width), dtype=np.float32), 0, 1)
    tube *= (1 - distance).astype(np.float32)
    return to_uint8(x + np.float32(strength) * (tube[..., None] * PHOSPHOR - x))
