"""Blurs, compression and noise of bytes and unit values; and DDA's operators on a pair of a real image and its fake."""

from io import BytesIO
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from aigid.degradations.extra import line
from aigid.degradations.pixels import (
    Floats,
    Pixels,
    RngOrNone,
    convolve,
    from_pil,
    gaussian,
    luma,
    to_float,
    to_uint8,
    truncate,
)

MAX_GAIN = 4  # of details
DEFAULT_QUALITY = 96  # by which DDA compresses the fake of a real image that was no JPEG


def jpeg(image: Pixels | Floats, quality: int, rng: RngOrNone = None) -> Pixels:
    """Compress as JPEG by Pillow (4:2:0, standard tables) and decode; unit values are rounded down, as by NTIRE."""
    pixels = image if image.dtype == np.uint8 else truncate(np.float32(255) * image)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return from_pil(Image.open(buffer))


def gaussian_blur(image: Pixels, sigma: float, radius: int | None = None, rng: RngOrNone = None) -> Pixels:
    """Blur by a Gaussian of ``sigma`` px, cut at 4 sigma or ``radius`` px, mirrored edge: scipy's filter, as in UFD.

    UFD filters bytes in place, which truncates between the two axes; here the result is rounded once.
    """
    return to_uint8(gaussian(to_float(image), sigma, radius))


def dda_gaussian_blur(image: Pixels, sigma: float, radius: int, rng: RngOrNone = None) -> Pixels:
    """Blur by torchvision's Gaussian of 2 ``radius`` + 1 px, mirrored without repeating the edge (DDA)."""
    return to_uint8(gaussian(to_float(image), sigma, radius, "reflect"))


def median_blur(image: Pixels, size: int, rng: RngOrNone = None) -> Pixels:
    """Return the median of each channel over a square of ``size`` px."""
    return from_pil(Image.fromarray(image).filter(ImageFilter.MedianFilter(size)))


def dda_motion_blur(image: Pixels, side: int, angle: float, rng: RngOrNone = None) -> Pixels:
    """Average over a line of ``side`` px at ``angle`` degrees, clockwise, mirrored without repeating the edge (DDA)."""
    return np.rint(convolve(image, line(side, -angle), "reflect")).astype(np.uint8)


def sharpen(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Return x + amount (x - G(x)) cut off, with a Gaussian of 3 px and 25 taps, as OpenCV mirrors it (DDA)."""
    x = image.astype(np.float32)
    return truncate(x + np.float32(amount) * (x - gaussian(x, 3, border="reflect")))


def match_jpeg_quality(fake: Pixels, quality: int | None) -> Pixels:
    """Compress the fake at its real image's JPEG quality (1 to 100, IJG; None: no JPEG); not at 100, as in DDA."""
    return fake if quality == 100 else jpeg(fake, quality or DEFAULT_QUALITY)


def pixel_mix(real: Pixels, fake: Pixels, share: float) -> Pixels:
    """Mix a ``share`` of the fake with the rest of the real image; the mix is a fake (DDA samples U(0, 0.8)).

    Both are of one size. Truncated, as in DDA's code.
    """
    return _mix(fake, real, share).astype(np.uint8)


def dct_mix(real: Pixels, fake: Pixels, share: float) -> Pixels:
    """Mix a ``share`` of the real image's full-image DCT with the rest of the fake's (DDA samples U(0, 0.8)).

    The DCT is linear and the share equal for all coefficients, so the mix of transforms is the transform of the mix,
    and none has to be computed; the share is the real image's here, and the fake's in ``pixel_mix``. Rounded.
    """
    return np.rint(_mix(real, fake, share)).astype(np.uint8)


def _mix(first: Pixels, second: Pixels, share: float) -> np.ndarray:
    """Return levels, a ``share`` of the first and the rest of the second, float32."""
    assert first.shape == second.shape
    return np.float32(share) * first + np.float32(1 - share) * second


def match_local_energy(fake: Pixels, real: Pixels) -> Pixels:
    """Give the fake's details the energy that the real image's have at the same position.

    Two bands of differences of Gaussians, each scaled by the ratio of the local energies (a window of 3 px), twice, as
    the bands overlap. What a generator of a few hundred steps loses of details would tell its fakes by their mean
    energy alone; those of published generators keep it (DDA calls their remaining deficit the frequency bias).
    """
    energies, image = [_local_energy(band) for band in _split_bands(to_float(real))[0]], to_float(fake)
    for _ in range(2):
        bands, result = _split_bands(image)
        for band, energy in zip(bands, energies, strict=True):
            result = result + band * np.sqrt(energy / _local_energy(band))
        image = result
    return to_uint8(image)


def match_laplacian(fake: Pixels, real: Pixels) -> Pixels:
    """Scale the fake's finest band by one factor, at most ``MAX_GAIN``, so that its Laplacian energy is the real's.

    It is that of the luma, where details of a fake, whose channels agree less, cancel though each channel's match.
    """
    from scipy.ndimage import laplace

    image = to_float(fake)
    fine = image - gaussian(image, 0.6)
    coarse_edges, fine_edges, real_edges = (laplace(luma(part)) for part in (image - fine, fine, to_float(real)))
    squared = np.square(fine_edges).mean()
    if not squared:
        return fake
    mixed, excess = (coarse_edges * fine_edges).mean(), (np.square(coarse_edges) - np.square(real_edges)).mean()
    factor = (np.sqrt(max(mixed**2 - squared * excess, 0)) - mixed) / squared
    return to_uint8(image + (np.float32(np.clip(factor, 0, MAX_GAIN)) - 1) * fine)


def _split_bands(image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    levels = [image, *(gaussian(image, sigma) for sigma in (0.6, 1.3))]
    return [fine - coarse for fine, coarse in pairwise(levels)], levels[-1]


def _local_energy(band: np.ndarray) -> np.ndarray:
    return gaussian(np.square(band), 3) + np.float32(1e-6)


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
