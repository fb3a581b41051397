"""CIELAB lightness changed while a and b stay: sRGB, D65."""

from collections.abc import Callable

import numpy as np

from aigid.degrade.pixels import Pixels, stored

# Linear sRGB to XYZ over the white point (IEC 61966-2-1), so that white is (1, 1, 1).
XYZ = np.float32(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
)
XYZ /= XYZ.sum(axis=1, keepdims=True)
RGB = np.linalg.inv(XYZ)
KNEE = np.float32(6 / 29)  # below it, CIELAB's cube root is a straight line

_level = np.arange(256) / 255
LINEAR = np.where(_level <= 0.04045, _level / 12.92, ((_level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def change_lightness(image: Pixels, curve: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    """The image with L / 100 replaced by ``curve(L / 100)``, clipped to [0, 1]; out-of-gamut colours are clipped too.

    L is 116 f(Y) - 16 and a, b are differences of f(X), f(Y), f(Z): a change of L moves all three f alike.
    """
    roots = _root(_mix(XYZ, LINEAR[image]))
    lightness = np.float32(1.16) * roots[..., 1] - np.float32(0.16)
    moved = (np.clip(curve(lightness), 0, 1) - lightness) / np.float32(1.16)
    return stored(_encode(_mix(RGB, _cube(roots + moved[..., None]))))


def _mix(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    # einsum, unlike BLAS, gives the same bytes for any number of threads.
    return np.einsum("hwc,dc->hwd", values, matrix)


def _root(values: np.ndarray) -> np.ndarray:
    return np.where(values > KNEE**3, np.cbrt(values), values / (3 * KNEE**2) + np.float32(4 / 29))


def _cube(roots: np.ndarray) -> np.ndarray:
    return np.where(roots > KNEE, roots**3, 3 * KNEE**2 * (roots - np.float32(4 / 29)))


def _encode(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
