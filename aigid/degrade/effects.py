"""Looks of old film and odd cameras. Their sources publish ranges only; each docstring states the form taken here."""

from math import cos, radians, sin

import numpy as np

from aigid.degrade.pixels import Pixels, Rng, luma, stored, unit

LEAK = np.array([1.0, 0.55, 0.2], dtype=np.float32)
PHOSPHOR = np.array([0.15, 1.0, 0.25], dtype=np.float32)


def fading(image: Pixels, strength: float, rng: Rng = None) -> Pixels:
    """A mix x + strength (f - x) with the faded print f = 0.3 + 0.6 luma: no colour, no black, no white."""
    x = unit(image)
    faded = 0.3 + 0.6 * luma(x)[..., None]
    return stored(x + np.float32(strength) * (faded - x))


def light_leak(image: Pixels, strength: float, angle: float, rng: Rng = None) -> Pixels:
    """An orange glow from the rim at ``angle`` degrees, laid over by screening: 1 - (1 - x)(1 - strength glow)."""
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    dy = (y + 0.5) / height - (0.5 - 0.5 * sin(radians(angle)))
    dx = (x + 0.5) / width - (0.5 + 0.5 * cos(radians(angle)))
    glow = np.exp(-(dy**2 + dx**2) / 0.25).astype(np.float32)[..., None] * LEAK
    return stored(1 - (1 - unit(image)) * (1 - np.float32(strength) * glow))


def night_vision(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A mix with a green tube picture: amplified luma, Gaussian noise of 0.05, corners half as bright."""
    x = unit(image)
    height, width = image.shape[:2]
    row, column = np.ogrid[:height, :width]
    distance = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
    tube = np.clip(1.4 * luma(x) + 0.05 * rng.standard_normal((height, width), dtype=np.float32), 0, 1)
    tube *= (1 - distance).astype(np.float32)
    return stored(x + np.float32(strength) * (tube[..., None] * PHOSPHOR - x))
