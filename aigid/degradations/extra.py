"""FeatDistill's nineteen extra operators.

Each takes (H, W, 3) float32 in [0, 1]; `apply_operators` clips what it returns. An image that is too small for an
operator stays as it is, as FeatDistill's policy skips what fails.
"""

from collections.abc import Iterable
from functools import cache
from math import cos, radians, sin
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aigid.degradations.pixels import (
    Floats,
    RngOrNone,
    convolve,
    correlate,
    gaussian,
    luma,
    saturate,
    weighted_channels,
)

TO_YUV = np.array(((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001)))
FROM_YUV = np.linalg.inv(TO_YUV).astype(np.float32)
LEAK = np.array((1.0, 0.4, 0.1), np.float32)
PHOSPHOR = np.array((0.1, 0.9, 0.2), np.float32)


def jpeg_blockiness(image: Floats, quality: int, rng: RngOrNone = None) -> Floats:
    """Mix 60 % of a mosaic of square cells, which grow as ``quality`` falls, with 40 % of a blur; no JPEG."""
    height, width = image.shape[:2]
    side = min(max(100 // quality, 4), 16)
    rows, columns = height // side, width // side
    if not rows or not columns:
        return image
    bands = image[: rows * side, : columns * side].reshape(rows, side, columns * side, 3).mean(axis=1)
    cells = bands.reshape(rows, columns, side, 3).mean(axis=2)
    mosaic = cells[:, np.arange(width) * columns // width][np.arange(height) * rows // height]
    blurred = gaussian(image, 1.5, 2, "reflect")
    return np.asarray(np.float32(0.4) * blurred + np.float32(0.6) * mosaic)


def compression_ringing(image: Floats, strength: float, rng: RngOrNone = None) -> Floats:
    """Add the luma's Laplacian, black around the image, to all channels: it smooths."""
    gray = np.pad(luma(image), 1)
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    return image + np.float32(strength) * laplacian[..., None]


def gif_quantization(image: Floats, colors: int, rng: RngOrNone = None) -> Floats:
    """Round each channel to the cube root of ``colors`` levels; no palette."""
    return _round(image, min(max(round(colors ** (1 / 3)), 2), 32))


def color_banding(image: Floats, bits: int, rng: RngOrNone = None) -> Floats:
    """Round each channel to ``bits`` bits."""
    return _round(image, 2**bits)


def _round(image: Floats, levels: int) -> Floats:
    steps = np.float32(levels - 1)
    return np.rint(image * steps) / steps


def pixel_shuffle(image: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Permute the four pixels of a ``share`` of the 2 x 2 blocks."""
    height, width = image.shape[:2]
    if min(height, width) < 2:
        return image
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="reflect")
    rows, columns = padded.shape[0] // 2, padded.shape[1] // 2
    blocks = padded.reshape(rows, 2, columns, 2, 3).swapaxes(1, 2).reshape(-1, 4, 3)
    chosen = np.flatnonzero(rng.random(len(blocks), dtype=np.float32) < share)
    orders = rng.permuted(np.tile(np.arange(4), (len(chosen), 1)), axis=1)
    blocks[chosen] = blocks[chosen[:, None], orders]
    return blocks.reshape(rows, columns, 2, 2, 3).swapaxes(1, 2).reshape(padded.shape)[:height, :width]


def motion_blur(image: Floats, side: int, angle: float, rng: RngOrNone = None) -> Floats:
    """Average over a line of ``side`` px at ``angle`` degrees, black around the image."""
    return convolve(image, line(side, angle), "constant")


def line(side: int, angle: float) -> NDArray[np.float64]:
    """Return a kernel (side, side) of equal weights at the rounded cells of a line, counter-clockwise."""
    middle, kernel = side // 2, np.zeros((side, side))
    for index in range(side):
        offset = index - middle
        kernel[middle - round(offset * sin(radians(angle))), middle + round(offset * cos(radians(angle)))] = 1
    return kernel / kernel.sum()


def defocus_blur(image: Floats, radius: int, rng: RngOrNone = None) -> Floats:
    """Average over a disk of ``radius`` px with a hard rim, black around the image."""
    return convolve(image, _hard_disk(radius), "constant")


@cache
def _hard_disk(radius: int) -> NDArray[np.float64]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = (y**2 + x**2 <= radius**2).astype(np.float64)
    return np.asarray(kernel / kernel.sum())


def color_bleed(image: Floats, offset: int, rng: RngOrNone = None) -> Floats:
    """Smear the chroma sideways and move it right by ``offset`` px, but for the first columns; the luma stays."""
    u, v = (weighted_channels(image, TO_YUV[row]) for row in (1, 2))
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 18)
    chroma = [correlate(plane, weights / weights.sum(), 1, "reflect") for plane in (u, v)]
    for plane in chroma:
        plane[:, offset:] = plane[:, :-offset].copy()
    y = luma(image)
    return np.stack([row[0] * y + row[1] * chroma[0] + row[2] * chroma[1] for row in FROM_YUV], axis=2)


class Blob(NamedTuple):
    """A Gaussian spot of light: centre, standard deviations in px and weight."""

    row: float
    column: float
    height: float
    width: float
    weight: float


def light_leak(image: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """Screen orange light of one to three blobs that lie on the image's edges."""
    height, width = image.shape[:2]
    blobs = []
    for _ in range(rng.integers(1, 4)):
        side = int(rng.integers(4))  # left, right, top, bottom
        columns, rows = rng.uniform(0.1, 0.5, 2)
        row, column = int(rng.integers(height)), int(rng.integers(width))
        if side < 2:
            column = side * (width - 1)
        else:
            row = (side - 2) * (height - 1)
        blobs.append(Blob(row, column, max(rows * height, 1), max(columns * width, 1), rng.uniform(0.5, 1)))
    return leak(image, amount, blobs)


def leak(image: Floats, amount: float, blobs: Iterable[Blob]) -> Floats:
    """Return the screen blend 1 - (1 - x)(1 - light)."""
    height, width = image.shape[:2]
    light = np.zeros((height, width), np.float32)
    for blob in blobs:
        rows = np.exp(-(((np.arange(height) - blob.row) / blob.height) ** 2) / 2)
        columns = np.exp(-(((np.arange(width) - blob.column) / blob.width) ** 2) / 2)
        light += np.multiply.outer(blob.weight * rows, columns).astype(np.float32)
    light = np.float32(amount) * np.minimum(light, 1)
    return 1 - (1 - image) * (1 - light[..., None] * LEAK)


def fading(image: Floats, amount: float, rng: RngOrNone = None) -> Floats:
    """Reduce saturation by ``amount`` and contrast by half of it."""
    faded = saturate(image, 1 - amount)
    return np.float32(0.5) + (faded - np.float32(0.5)) * np.float32(1 - amount / 2)


def digital_glitch(image: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """Roll int(20 amount) bands of rows sideways by at most ``amount`` of the width: one channel of each, or all."""
    height, width = image.shape[:2]
    result, limit = image.copy(), int(width * amount)
    for _ in range(int(20 * amount + 1e-9)):
        rows = int(rng.integers(1, max(2, height // 10)))
        top = int(rng.integers(max(1, height - rows)))
        move = int(rng.integers(-limit, limit, endpoint=True))
        channel = int(rng.integers(3)) if rng.random() < 0.5 else slice(None)
        band: Any = (slice(top, top + rows), slice(None), channel)
        result[band] = np.roll(result[band], move, axis=1)
    return result


def water_drops(image: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """Add int(20 amount) + 1 drops, each a lens that magnifies its middle, with a bright spot and a dark rim."""
    height, width = image.shape[:2]
    result = image.copy()
    for _ in range(int(20 * amount + 1e-9) + 1):
        radius = int(rng.integers(max(2, height // 40), max(5, height // 15)))
        if min(height, width) <= 2 * radius:
            return image
        column, row = (int(rng.integers(radius, side - radius)) for side in (width, height))
        add_drop(result, image, row, column, radius)
    return result


def add_drop(result: Floats, image: Floats, row: int, column: int, radius: int) -> None:
    """Draw a drop of ``radius`` px that shows ``image``, in place."""
    y, x = (offset.ravel() for offset in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    within = y**2 + x**2 <= radius**2
    y, x = y[within], x[within]
    share = (y**2 + x**2) / radius**2
    zoom = 0.3 + 0.7 * share
    values = image[(row + y * zoom).astype(np.intp), (column + x * zoom).astype(np.intp)]
    values *= np.where(share > 0.64, 0.5 + 0.5 * share, 1).astype(np.float32)[:, None]
    values += np.where(share < 0.04, np.float32(0.3), np.float32(0))[:, None]
    result[row + y, column + x] = np.clip(values, 0, 1)


def night_vision(image: Floats, intensity: float, rng: np.random.Generator) -> Floats:
    """Mix with a noisy green image of amplified luma whose even rows are darker."""
    return tube(image, intensity, np.float32(0.1) * rng.standard_normal(image.shape, dtype=np.float32))


def tube(image: Floats, intensity: float, noise: Floats) -> Floats:
    """Return the mix with a green image that has the ``noise`` (H, W, 3)."""
    bright = np.clip(np.float32(1.5) * (luma(image) - np.float32(0.1)), 0, 1)
    night = bright[..., None] * PHOSPHOR + noise
    night[::2] *= np.float32(0.95)
    return np.float32(1 - intensity) * image + np.float32(intensity) * np.clip(night, 0, 1)


def ghosting(image: Floats, dx: int, intensity: float, rng: RngOrNone = None) -> Floats:
    """Darken by half of ``intensity`` and add that much of the image ``dx`` px to the right, black left of it."""
    result = np.float32(1 - intensity / 2) * image
    result[:, dx:] += np.float32(intensity) * image[:, :-dx]
    return result
