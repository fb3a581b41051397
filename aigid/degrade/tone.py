"""Brightness, contrast and saturation: every pixel for itself."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

from aigid.degrade.lightness import change_lightness
from aigid.degrade.pixels import Pixels, Rng, from_pil, luma, stored, unit


def brightness(image: Pixels, factor: float, rng: Rng = None) -> Pixels:
    """factor x, clipped (what ColorJitter calls brightness)."""
    return _curve(image, lambda x: factor * x)


def contrast(image: Pixels, change: float, rng: Rng = None) -> Pixels:
    """Linear contrast change 1/2 + (1 + change)(x - 1/2), clipped (KADID's curve through the quartiles)."""
    return _curve(image, lambda x: 0.5 + (1 + change) * (x - 0.5))


def quantization(image: Pixels, levels: int, rng: Rng = None) -> Pixels:
    """Each channel rounded to ``levels`` equally spaced values, black and white among them."""
    return _curve(image, lambda x: np.rint(x * (levels - 1)) / (levels - 1))


def banding(image: Pixels, bits: int, rng: Rng = None) -> Pixels:
    """Each channel rounded to ``bits`` bits."""
    return quantization(image, 2**bits)


def brighten(image: Pixels, amount: float, rng: Rng = None) -> Pixels:
    """CIELAB lightness through the parabola L + 2 amount L (1 - L), clipped; black and white stay.

    KADID: raise the luminance by a smooth curve with fixed ends; the curve passes (1/2, 1/2 + amount/2).
    """
    return change_lightness(image, lambda x: x + 2 * amount * x * (1 - x))


def darken(image: Pixels, amount: float, rng: Rng = None) -> Pixels:
    """CIELAB lightness through L - 2 amount L (1 - L), clipped: ``brighten`` downwards."""
    return change_lightness(image, lambda x: x - 2 * amount * x * (1 - x))


def saturation(image: Pixels, factor: float, rng: Rng = None) -> Pixels:
    """HSV saturation times a ``factor`` of at most 1; a negative factor counts as 0."""
    assert factor <= 1, factor
    x = unit(image)
    value = np.maximum(np.maximum(x[..., 0], x[..., 1]), x[..., 2])[..., None]
    return stored(value - np.float32(max(factor, 0)) * (value - x))


def grayscale(image: Pixels, rng: Rng = None) -> Pixels:
    """BT.601 luma in all three channels."""
    return np.repeat(stored(luma(unit(image)))[..., None], 3, axis=2)


def color_jitter(
    image: Pixels, brightness: float, contrast: float, saturation: float, hue: float, rng: Rng = None
) -> Pixels:
    """ColorJitter's four changes in that order (torchvision shuffles it); ``hue`` in turns of the colour circle."""
    picture = Image.fromarray(image)
    picture = ImageEnhance.Brightness(picture).enhance(brightness)
    picture = ImageEnhance.Contrast(picture).enhance(contrast)
    picture = ImageEnhance.Color(picture).enhance(saturation)
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(round(hue * 255) % 256)  # wraps round, as hues do
    return from_pil(Image.fromarray(hsv, "HSV"))


def _curve(image: Pixels, curve: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    return stored(curve(np.arange(256) / 255))[image]
