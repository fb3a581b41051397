"""Conversions between bytes and the unit scale on which operators compute, and operators on every pixel for itself."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3), RGB
Floats: TypeAlias = NDArray[np.float32]
RngOrNone: TypeAlias = np.random.Generator | None  # deterministic operators ignore it

LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601

# Linear sRGB to XYZ over the white point (IEC 61966-2-1), so that white is (1, 1, 1).
XYZ = np.array(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)),
    np.float32,
)
XYZ /= XYZ.sum(axis=1, keepdims=True)
RGB = np.linalg.inv(XYZ)
LINEAR_THRESHOLD = np.float32(6 / 29)  # below it, CIELAB's cube root is a straight line

_level = np.arange(256) / 255
LINEAR = np.where(_level <= 0.04045, _level / 12.92, ((_level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_float(image: Pixels) -> Floats:
    """Return (H, W, 3) float32 in [0, 1]."""
    return np.asarray(image.astype(np.float32) / np.float32(255))


def to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 of unit values, clipped to [0, 1] and rounded to the nearest of 256 levels."""
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))


def luma(values: NDArray[Any]) -> Floats:
    """Return the brightness of unit RGB, (H, W) float32."""
    return np.asarray(values[..., 0] * LUMA[0] + values[..., 1] * LUMA[1] + values[..., 2] * LUMA[2])


def from_pil(image: Image.Image) -> Pixels:
    """Return the RGB bytes of a Pillow image."""
    return np.asarray(image.convert("RGB"))


def change_lightness(image: Pixels, curve: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    """Replace L / 100 by ``curve(L / 100)``, clipped to [0, 1]; out-of-gamut colors are clipped too, a and b stay.

    L is 116 f(Y) - 16 and a, b are differences of f(X), f(Y), f(Z): a change of L moves all three f alike.
    """
    roots = _cube_root(_mix(XYZ, LINEAR[image]))
    lightness = np.float32(1.16) * roots[..., 1] - np.float32(0.16)
    moved = (np.clip(curve(lightness), 0, 1) - lightness) / np.float32(1.16)
    return to_uint8(_encode(_mix(RGB, _cube(roots + moved[..., None]))))


def _mix(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    # einsum, unlike BLAS, gives the same bytes for any number of threads.
    return np.asarray(np.einsum("hwc,dc->hwd", values, matrix))


def _cube_root(values: np.ndarray) -> np.ndarray:
    return np.where(
        values > LINEAR_THRESHOLD**3, np.cbrt(values), values / (3 * LINEAR_THRESHOLD**2) + np.float32(4 / 29)
    )


def _cube(roots: np.ndarray) -> np.ndarray:
    return np.where(roots > LINEAR_THRESHOLD, roots**3, 3 * LINEAR_THRESHOLD**2 * (roots - np.float32(4 / 29)))


def _encode(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def brightness(image: Pixels, factor: float, rng: RngOrNone = None) -> Pixels:
    """Return factor x, clipped (what ColorJitter calls brightness)."""
    return _lookup_table(image, lambda x: factor * x)


def contrast(image: Pixels, change: float, rng: RngOrNone = None) -> Pixels:
    """Return 1/2 + (1 + change)(x - 1/2), clipped: linear contrast, KADID's curve through the quartiles."""
    return _lookup_table(image, lambda x: 0.5 + (1 + change) * (x - 0.5))


def quantization(image: Pixels, levels: int, rng: RngOrNone = None) -> Pixels:
    """Round each channel to ``levels`` equally spaced values, black and white among them."""
    return _lookup_table(image, lambda x: np.rint(x * (levels - 1)) / (levels - 1))


def banding(image: Pixels, bits: int, rng: RngOrNone = None) -> Pixels:
    """Round each channel to ``bits`` bits."""
    return quantization(image, 2**bits)


def brighten(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Map CIELAB lightness through the parabola L + 2 amount L (1 - L), clipped; black and white stay.

    KADID: raise the luminance by a smooth curve with fixed ends; the curve passes (1/2, 1/2 + amount/2).
    """
    return change_lightness(image, lambda x: x + 2 * amount * x * (1 - x))


def darken(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Map CIELAB lightness through L - 2 amount L (1 - L), clipped."""
    return brighten(image, -amount)


def saturation(image: Pixels, factor: float, rng: RngOrNone = None) -> Pixels:
    """Multiply HSV saturation by a ``factor`` of at most 1; a negative factor counts as 0."""
    assert factor <= 1, factor
    x = to_float(image)
    value = np.maximum(np.maximum(x[..., 0], x[..., 1]), x[..., 2])[..., None]
    return to_uint8(value - np.float32(max(factor, 0)) * (value - x))


def grayscale(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Return BT.601 luma in all three channels."""
    return np.repeat(to_uint8(luma(to_float(image)))[..., None], 3, axis=2)


def color_jitter(
    image: Pixels, brightness: float, contrast: float, saturation: float, hue: float, rng: RngOrNone = None
) -> Pixels:
    """Apply ColorJitter's four changes in that order (torchvision shuffles it); ``hue`` in turns of the circle."""
    picture = Image.fromarray(image)
    picture = ImageEnhance.Brightness(picture).enhance(brightness)
    picture = ImageEnhance.Contrast(picture).enhance(contrast)
    picture = ImageEnhance.Color(picture).enhance(saturation)
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(round(hue * 255) % 256)  # wraps round, as hues do
    return from_pil(Image.fromarray(hsv, "HSV"))


def _lookup_table(image: Pixels, curve: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    return np.asarray(to_uint8(curve(np.arange(256) / 255))[image])
