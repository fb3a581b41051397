"""Blurs and their opposite, sharpening. Kernels sum to 1; the edge is repeated unless the source says otherwise."""

from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image, ImageFilter
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from aigid.degrade.pixels import Pixels, Rng, from_pil, stored, unit


def gaussian_blur(image: Pixels, sigma: float, radius: int | None = None, rng: Rng = None) -> Pixels:
    """Gaussian of ``sigma`` px, cut at 4 sigma or at ``radius`` px, mirrored edge: scipy's filter, as UFD uses it.

    UFD filters bytes in place, which truncates between the two axes; here the result is rounded once.
    """
    return stored(gaussian_filter(unit(image), sigma, radius=radius, axes=(0, 1)))


def truncated_gaussian_blur(image: Pixels, sigma: float, rng: Rng = None) -> Pixels:
    """Gaussian of ``sigma`` px with 2 ceil(2 sigma) + 1 taps and a repeated edge (NTIRE basic)."""
    return stored(gaussian_filter(unit(image), sigma, radius=ceil(2 * sigma), mode="nearest", axes=(0, 1)))


def lens_blur(image: Pixels, radius: float, rng: Rng = None) -> Pixels:
    """Out of focus: the mean over a disk of ``radius`` px with a soft rim one pixel wide."""
    return _convolve(image, disk(radius))


def motion_blur(image: Pixels, half: int, angle: float, rng: Rng = None) -> Pixels:
    """The mean over a line of 2 ``half`` + 1 px at ``angle`` degrees."""
    return _convolve(image, line(half, angle))


def median_blur(image: Pixels, size: int, rng: Rng = None) -> Pixels:
    """The median of each channel over a square of ``size`` px."""
    return from_pil(Image.fromarray(image).filter(ImageFilter.MedianFilter(size)))


def sharpen(image: Pixels, amount: float, rng: Rng = None) -> Pixels:
    """Unsharp mask x + amount (x - G(x)) with a Gaussian of 3 px (DDA)."""
    x = unit(image)
    return stored(x + np.float32(amount) * (x - gaussian_filter(x, 3, axes=(0, 1))))


def disk(radius: float) -> np.ndarray:
    """Kernel (2 ceil(radius) + 1,) * 2 whose weight falls from 1 to 0 between radius - 1/2 and radius + 1/2."""
    y, x = _grid(ceil(radius))
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return kernel / kernel.sum()


def line(half: int, angle: float) -> np.ndarray:
    """Kernel (2 half + 1,) * 2: 1 on a centred segment that reaches ``half`` px both ways, 0 one pixel beside it."""
    y, x = _grid(half)
    along = np.clip(x * cos(radians(angle)) - y * sin(radians(angle)), -half, half)
    distance = np.hypot(x - along * cos(radians(angle)), y + along * sin(radians(angle)))
    kernel = np.clip(1 - distance, 0, 1)
    return kernel / kernel.sum()


def _grid(half: int) -> np.ndarray:
    return np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)


def _convolve(image: Pixels, kernel: np.ndarray) -> Pixels:
    height, width = image.shape[:2]
    half = kernel.shape[0] // 2
    padded = np.pad(unit(image), ((half, half), (half, half), (0, 0)), mode="edge")
    size = [next_fast_len(side, real=True) for side in padded.shape[:2]]
    spectrum = rfft2(kernel.astype(np.float32), size)
    planes = [irfft2(rfft2(padded[..., channel], size) * spectrum, size) for channel in range(3)]
    # The first 2 half rows and columns have wrapped round.
    return stored(np.stack(planes, axis=2)[2 * half :, 2 * half :][:height, :width])
