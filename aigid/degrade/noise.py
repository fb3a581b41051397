"""Noise on the unit scale; every operator here needs its generator."""

import numpy as np
from scipy.ndimage import gaussian_filter

from aigid.degrade.pixels import Pixels, stored, unit

FULL_WELL = 10_000  # electrons that a pixel holds at ISO 100: a common sensor
READ_NOISE = 3  # electrons


def white_noise(image: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """Independent Gaussian noise on every channel value."""
    return stored(unit(image) + _normal(image.shape, variance**0.5, rng))


def impulse(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Salt and pepper: a share ``density`` of the channel values become 0 or 255, half and half."""
    chance = rng.random(image.shape, dtype=np.float32)
    return np.where(chance < density / 2, np.uint8(0), np.where(chance >= 1 - density / 2, np.uint8(255), image))


def pepper(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """A share ``density`` of the pixels turn black (DDA)."""
    return np.where(rng.random((*image.shape[:2], 1), dtype=np.float32) < density, np.uint8(0), image)


def poisson(image: Pixels, peak: float, rng: np.random.Generator) -> Pixels:
    """Photon noise: white is ``peak`` photons."""
    return stored(rng.poisson(unit(image) * peak) / peak)


def speckle(image: Pixels, variance: float, rng: np.random.Generator) -> Pixels:
    """Multiplicative noise x + x n, n Gaussian."""
    x = unit(image)
    return stored(x + x * _normal(image.shape, variance**0.5, rng))


def iso(image: Pixels, sensitivity: float, rng: np.random.Generator) -> Pixels:
    """Camera noise at an ISO number: photon noise of the electrons left (full well x 100 / ISO) plus read noise.

    Only the range of ISO numbers is published; this is the usual sensor model, Gaussian in place of Poisson.
    """
    x = unit(image)
    white = FULL_WELL * 100 / sensitivity
    deviation = np.sqrt(x * white + READ_NOISE**2) / white
    return stored(x + deviation * _normal(image.shape, 1, rng))


def film_grain(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    """Grain about two pixels wide, equal in all channels, of the given standard deviation."""
    grain = gaussian_filter(_normal(image.shape[:2], 1, rng), 0.8, mode="wrap")
    # A Gaussian filter of s px leaves 1 / (2 s sqrt(pi)) of white noise's deviation.
    grain *= np.float32(deviation * 2 * 0.8 * np.pi**0.5)
    return stored(unit(image) + grain[..., None])


def _normal(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
