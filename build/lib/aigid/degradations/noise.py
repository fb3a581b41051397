"""Noise on unit values (NTIRE 2026, FeatDistill), and DDA's on bytes."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aigid.degradations.pixels import Floats, Pixels, luma, truncate

Integers: TypeAlias = NDArray[np.integer[Any]]


def whitenoise(image: Floats, variance: float, rng: np.random.Generator) -> Floats:
    """Add independent Gaussian noise to every channel value."""
    return image + np.float32(variance**0.5) * _normal(image.shape, rng)


def impulsenoise(image: Floats, density: float, rng: np.random.Generator) -> Floats:
    """Set single channel values, a share ``density`` of them drawn with replacement, to 1 or to 0."""
    number, limits = int(density * image.size), (3, *image.shape[:2])
    return set_impulses(image, *(rng.integers(limit, size=number) for limit in limits))


def set_impulses(image: Floats, channels: Integers, rows: Integers, columns: Integers) -> Floats:
    """Set the first half of the values to 1, then the others to 0."""
    result, half = image.copy(), len(channels) // 2
    for part, value in ((slice(half), 1), (slice(half, None), 0)):
        result[rows[part], columns[part], channels[part]] = value
    return result


def poisson_noise(image: Floats, peak: float, rng: np.random.Generator) -> Floats:
    """Apply photon noise; white is ``peak`` photons."""
    return (rng.poisson(image * peak) / peak).astype(np.float32)


def speckle_noise(image: Floats, variance: float, rng: np.random.Generator) -> Floats:
    """Return x + x n, n Gaussian: multiplicative noise."""
    return image + image * (np.float32(variance**0.5) * _normal(image.shape, rng))


def iso_noise(image: Floats, iso: float, rng: np.random.Generator) -> Floats:
    """Add Gaussian noise of variance 1e-6 ``iso`` (1 + x/2)."""
    return image + _normal(image.shape, rng) * np.sqrt(np.float32(1e-6 * iso) * (1 + image / 2))


def film_grain(image: Floats, intensity: float, rng: np.random.Generator) -> Floats:
    """Add colored grain, made at 0.7 of the size and enlarged, most of it to middle greys."""
    height, width = image.shape[:2]
    small = int(0.7 * height), int(0.7 * width)
    if not all(small):
        return image
    grain = enlarge(enlarge(_normal((*small, 3), rng), height).swapaxes(0, 1), width).swapaxes(0, 1)
    mask = np.clip(1 - 4 * (luma(image) - np.float32(0.5)) ** 2, 0.1, 1)
    return image + grain * (np.float32(intensity) * mask)[..., None]


def enlarge(values: Floats, size: int) -> Floats:
    """Resize the first axis by cubic convolution with a = -0.75, as OpenCV and torch do; the edge is repeated."""
    position = (np.arange(size) + 0.5) * len(values) / size - 0.5
    start = np.floor(position).astype(np.intp)
    result = np.zeros((size, *values.shape[1:]), np.float32)
    for tap in range(-1, 3):
        distance = np.abs(position - start - tap)
        near = 1.25 * distance**3 - 2.25 * distance**2 + 1
        far = -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        weight = np.where(distance <= 1, near, far).astype(np.float32)
        result += weight[:, None, None] * values[np.clip(start + tap, 0, len(values) - 1)]
    return result


def salt_and_pepper(image: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Turn half a ``share`` of the pixels white and half black."""
    chance, result = rng.random(image.shape[:2], dtype=np.float32), image.copy()
    result[chance < share] = 0
    result[chance < share / 2] = 1
    return result


def gaussian_noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Add independent Gaussian noise of so many levels to every channel value, cut off (DDA)."""
    return truncate(image + np.float32(deviation) * _normal(image.shape, rng))


def pepper(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Turn pixels black, a share ``density`` of them drawn with replacement (DDA)."""
    height, width = image.shape[:2]
    number, result = int(height * width * density), image.copy()
    result[rng.integers(height, size=number), rng.integers(width, size=number)] = 0
    return result


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)
