"""Blurs, sharpening, noise and compression, and DDA's operators on a pair of a real image and its fake.

Kernels sum to 1; the edge is repeated unless the source says otherwise. Noise is on the unit scale.
"""

from io import BytesIO
from itertools import pairwise
from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image, ImageFilter
from scipy.fft import dctn, idctn, irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter

from aigid.degradations.pixels import Pixels, RngOrNone, from_pil, to_float, to_uint8

FULL_WELL = 10_000  # electrons that a pixel holds at ISO 100: a common sensor
READ_NOISE = 3  # electrons
DEFAULT_QUALITY = 96  # by which DDA compresses the fake of a real image that was no JPEG


def gaussian_blur(image: Pixels, sigma: float, radius: int | None = None, rng: RngOrNone = None) -> Pixels:
    """Blur by a Gaussian of ``sigma`` px, cut at 4 sigma or ``radius`` px, mirrored edge: scipy's filter, as in UFD.

    UFD filters bytes in place, which truncates between the two axes; here the result is rounded once.
    """
    return to_uint8(gaussian_filter(to_float(image), sigma, radius=radius, axes=(0, 1)))


def truncated_gaussian_blur(image: Pixels, sigma: float, rng: RngOrNone = None) -> Pixels:
    """Blur by a Gaussian of ``sigma`` px with 2 ceil(2 sigma) + 1 taps and a repeated edge (NTIRE basic)."""
    return to_uint8(gaussian_filter(to_float(image), sigma, radius=ceil(2 * sigma), mode="nearest", axes=(0, 1)))


def lens_blur(image: Pixels, radius: float, rng: RngOrNone = None) -> Pixels:
    """Average over a disk of ``radius`` px with a soft rim one pixel wide: out of focus."""
    return _convolve(image, disk(radius))


def motion_blur(image: Pixels, half: int, angle: float, rng: RngOrNone = None) -> Pixels:
    """Average over a line of 2 ``half`` + 1 px at ``angle`` degrees."""
    return _convolve(image, line(half, angle))


def median_blur(image: Pixels, size: int, rng: RngOrNone = None) -> Pixels:
    """Return the median of each channel over a square of ``size`` px."""
    return from_pil(Image.fromarray(image).filter(ImageFilter.MedianFilter(size)))


def sharpen(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Return the unsharp mask x + amount (x - G(x)) with a Gaussian of 3 px (DDA)."""
    x = to_float(image)
    return to_uint8(x + np.float32(amount) * (x - gaussian_filter(x, 3, axes=(0, 1))))


def disk(radius: float) -> np.ndarray:
    """Return a kernel (2 ceil(radius) + 1,) * 2 whose weight falls from 1 to 0 at radius - 1/2 to radius + 1/2."""
    y, x = _grid(ceil(radius))
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return np.asarray(kernel / kernel.sum())


def line(half: int, angle: float) -> np.ndarray:
    """Return a kernel (2 half + 1,) * 2: 1 on a centered segment, ``half`` px both ways, 0 a px off."""
    y, x = _grid(half)
    along = np.clip(x * cos(radians(angle)) - y * sin(radians(angle)), -half, half)
    distance = np.hypot(x - along * cos(radians(angle)), y + along * sin(radians(angle)))
    kernel = np.clip(1 - distance, 0, 1)
    return np.asarray(kernel / kernel.sum())


def _grid(half: int) -> np.ndarray:
    return np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)


def _convolve(image: Pixels, kernel: np.ndarray) -> Pixels:
    height, width = image.shape[:2]
    half = kernel.shape[0] // 2
    padded = np.pad(to_float(image), ((half, half), (half, half), (0, 0)), mode="edge")
    size = [next_fast_len(side, real=True) for side in padded.shape[:2]]
    spectrum = rfft2(kernel.astype(np.float32), size)
    planes = [irfft2(rfft2(padded[..., channel], size) * spectrum, size) for channel in range(3)]
    # The first 2 half rows and columns have wrapped round.
    return to_uint8(np.stack(planes, axis=2)[2 * half :, 2 * half :][:height, :width])


def white_noise(image: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """Add independent Gaussian noise to every channel value."""
    return to_uint8(to_float(image) + _normal(image.shape, variance**0.5, rng))


def impulse(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Set a share ``density`` of the channel values to 0 or 255, half and half: salt and pepper."""
    chance = rng.random(image.shape, dtype=np.float32)
    return np.where(chance < density / 2, np.uint8(0), np.where(chance >= 1 - density / 2, np.uint8(255), image))


def pepper(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Turn a share ``density`` of the pixels black (DDA)."""
    return np.where(rng.random((*image.shape[:2], 1), dtype=np.float32) < density, np.uint8(0), image)


def poisson(image: Pixels, peak: float, rng: np.random.Generator) -> Pixels:
    """Apply photon noise; white is ``peak`` photons."""
    return to_uint8(rng.poisson(to_float(image) * peak) / peak)


def speckle(image: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """Return x + x n, n Gaussian: multiplicative noise."""
    x = to_float(image)
    return to_uint8(x + x * _normal(image.shape, variance**0.5, rng))


def iso(image: Pixels, sensitivity: float, rng: np.random.Generator) -> Pixels:
    """Add camera noise at an ISO number: photon noise of full well x 100 / ISO electrons, plus read noise.

    Only the range of ISO numbers is published; this is the usual sensor model, Gaussian in place of Poisson.
    """
    x = to_float(image)
    white = FULL_WELL * 100 / sensitivity
    deviation = np.sqrt(x * white + READ_NOISE**2) / white
    return to_uint8(x + deviation * _normal(image.shape, 1, rng))


def film_grain(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Add grain about two pixels wide, equal in all channels, of the given standard deviation."""
    grain = gaussian_filter(_normal(image.shape[:2], 1, rng), 0.8, mode="wrap")
    # A Gaussian filter of s px leaves 1 / (2 s sqrt(pi)) of white noise's deviation.
    grain *= np.float32(deviation * 2 * 0.8 * np.pi**0.5)
    return to_uint8(to_float(image) + grain[..., None])


def _normal(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def jpeg(image: Pixels, quality: int, rng: RngOrNone = None) -> Pixels:
    """Compress as JPEG by Pillow (4:2:0, standard tables) and decode."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return from_pil(Image.open(buffer))


def gif_quantization(image: Pixels, colors: int, rng: RngOrNone = None) -> Pixels:
    """Reduce to a palette of ``colors`` by octree, each pixel its nearest entry, no dithering.

    The source names no algorithm; Pillow's median cut is 40 times slower and farther from the image.
    """
    picture = Image.fromarray(image)
    palette = picture.quantize(colors, method=Image.Quantize.FASTOCTREE)
    return from_pil(picture.quantize(palette=palette, dither=Image.Dither.NONE))


def ringing(image: Pixels, threshold: float, rng: RngOrNone = None) -> Pixels:
    """Zero AC coefficients below ``threshold`` of the orthonormal 8x8 DCT of unit values: codec ringing.

    Only the range 0.05 to 0.3 is published; what a coarse quantiser zeroes is what rings around edges.
    """
    height, width = image.shape[:2]
    padded = np.pad(to_float(image), ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3)
    coefficients = dctn(blocks, axes=(1, 3), norm="ortho")
    mask = np.abs(coefficients) >= threshold
    mask[:, 0, :, 0] = True
    blocks = idctn(coefficients * mask, axes=(1, 3), norm="ortho")
    return to_uint8(blocks.reshape(padded.shape)[:height, :width])


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


def _split_bands(image: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    levels = [image, *(gaussian_filter(image, sigma, axes=(0, 1)) for sigma in (0.6, 1.3))]
    return [fine - coarse for fine, coarse in pairwise(levels)], levels[-1]


def _local_energy(band: np.ndarray) -> np.ndarray:
    return np.asarray(gaussian_filter(np.square(band), 3, axes=(0, 1)) + 1e-6)
