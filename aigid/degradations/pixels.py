"""Conversions of bytes and the unit scale, CIELAB's lightness, convolution; and bytes recolored, resized or cropped."""

from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3), RGB
Floats: TypeAlias = NDArray[np.float32]  # in [0, 1]
RngOrNone: TypeAlias = np.random.Generator | None  # deterministic operators ignore it

# Linear sRGB of D65 to XYZ over the white point, and back, as in scikit-image, whose RGB_TO_XYZ is rounded.
RGB_TO_XYZ = np.array(((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227)))
XYZ_TO_RGB = np.array(
    ((3.24048134, -1.53715152, -0.49853633), (-0.96925495, 1.87599, 0.04155593), (0.05564664, -0.20404134, 1.05731107))
)
WHITE = np.array((0.95047, 1, 1.08883))
TO_LAB = (RGB_TO_XYZ / WHITE[:, None]).astype(np.float32)
FROM_LAB = (XYZ_TO_RGB * WHITE).astype(np.float32)
ROWS = 32  # computed at once where much is: what they need fits into the processor's cache
FEW = 24  # weights of a kernel, up to which a sum of shifted images is faster than a Fourier transform


def to_float(image: Pixels) -> Floats:
    """Return (H, W, 3) float32 in [0, 1]."""
    values = image.astype(np.float32)
    values /= 255
    return values


def to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 of unit values, clipped to [0, 1] and rounded to the nearest of 256 levels."""
    levels = np.clip(values, 0, 1)
    levels *= 255
    return np.asarray(np.rint(levels, out=levels).astype(np.uint8))


def truncate(levels: NDArray[Any]) -> Pixels:
    """Return uint8 of values on the scale to 255, clipped and cut off."""
    return np.clip(levels, 0, 255).astype(np.uint8)


def luma(values: NDArray[Any]) -> Floats:
    """Return the brightness of RGB by ITU-R BT.601, (H, W) float32."""
    return weighted_channels(values, (0.299, 0.587, 0.114))


def weighted_channels(values: NDArray[Any], weights: Iterable[float]) -> Floats:
    """Return the weighted sum (H, W) float32 of red, green and blue."""
    red, green, blue = (np.float32(weight) for weight in weights)
    return np.asarray(values[..., 0] * red + values[..., 1] * green + values[..., 2] * blue)


def saturate(image: Floats, factor: float) -> Floats:
    """Multiply HSV saturation, of which the value is the greatest of red, green and blue."""
    value = np.maximum(np.maximum(image[..., :1], image[..., 1:2]), image[..., 2:])
    return value + np.float32(factor) * (image - value)


def from_pil(image: Image.Image) -> Pixels:
    """Return the RGB bytes of a Pillow image."""
    return np.asarray(image.convert("RGB"))


def lab_lightness(image: Floats, curve: Callable[[Floats], Floats]) -> Floats:
    """Replace CIELAB's L / 100 by ``curve(L / 100)``; a and b stay; clipped to [0, 1].

    L is 116 f(Y) - 16 and a, b are differences of f(X), f(Y), f(Z): a change of L moves all three f alike.
    """
    parts = [image[start : start + ROWS] for start in range(0, len(image), ROWS)]
    return np.concatenate([_lab_lightness(part, curve) for part in parts])


def _lab_lightness(image: Floats, curve: Callable[[Floats], Floats]) -> Floats:
    linear = np.where(image <= 0.04045, image / 12.92, ((image + np.float32(0.055)) / 1.055) ** np.float32(2.4))
    xyz = _mix(TO_LAB, linear)
    roots = np.where(xyz > 0.008856, np.cbrt(xyz), np.float32(7.787) * xyz + np.float32(4 / 29))
    lightness = np.float32(1.16) * roots[..., 1] - np.float32(0.16)
    roots += ((curve(lightness) - lightness) / np.float32(1.16))[..., None]
    np.maximum(roots[..., 2], 0, out=roots[..., 2])
    xyz = np.where(roots > 0.2068966, roots * roots * roots, (roots - np.float32(4 / 29)) / np.float32(7.787))
    linear = np.clip(_mix(FROM_LAB, xyz), 0, 1)
    encoded = np.float32(1.055) * linear ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.asarray(np.where(linear > 0.0031308, encoded, np.float32(12.92) * linear))


def _mix(matrix: Floats, values: Floats) -> Floats:
    # einsum, unlike BLAS, gives the same bytes for any number of threads.
    return np.asarray(np.einsum("hwc,dc->hwd", values, matrix))


def gaussian(image: Floats, sigma: float, radius: int | None = None, border: str = "symmetric") -> Floats:
    """Return (H, W[, C]) blurred by a Gaussian of ``sigma`` px, cut at 4 sigma or ``radius`` px.

    ``border`` is the mode of `numpy.pad`. Bit for bit what `scipy.ndimage.gaussian_filter` gives.
    """
    if sigma == 0:
        return image.copy()
    radius = int(4 * sigma + 0.5) if radius is None else radius
    weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    for axis in (0, 1):
        image = correlate(image, weights / weights.sum(), axis, border)
    return image


def correlate(image: Floats, weights: NDArray[np.float64], axis: int, border: str) -> Floats:
    """Return (H, W[, C]) filtered along one axis by an odd number of symmetric weights, summed in float64."""
    half, size, result = len(weights) // 2, image.shape[axis], np.empty_like(image)
    index = np.pad(np.arange(size), half, mode=cast(Any, border))
    source, target = np.moveaxis(image, axis, 0), np.moveaxis(result, axis, 0)
    for start in range(0, source.shape[1], ROWS):
        block = slice(start, start + ROWS)
        lines = source[:, block].astype(np.float64)[index]
        total = lines[half : half + size] * weights[half]
        for reach in range(half, 0, -1):
            pair = lines[half - reach :][:size] + lines[half + reach :][:size]
            pair *= weights[half - reach]
            total += pair
        target[:, block] = total
    return result


def convolve(image: NDArray[Any], kernel: NDArray[np.float64], border: str) -> Floats:
    """Return (H, W, 3) float32 filtered by a square kernel of odd side that is symmetric about its centre.

    ``border`` is the mode of `numpy.pad`; ``constant`` is 0.
    """
    height, width = image.shape[:2]
    half = kernel.shape[0] // 2
    mode: Any = border
    padded = np.pad(image.astype(np.float32, copy=False), ((half, half), (half, half), (0, 0)), mode=mode)
    rows, columns = np.nonzero(kernel)
    if len(rows) <= FEW:
        result = np.zeros((height, width, 3), np.float32)
        for row, column in zip(rows, columns, strict=True):
            result += np.float32(kernel[row, column]) * padded[row : row + height, column : column + width]
        return result
    from scipy.fft import irfft2, next_fast_len, rfft2

    size = [next_fast_len(side, real=True) for side in padded.shape[:2]]
    spectrum = rfft2(kernel.astype(np.float32), size)
    planes = [irfft2(rfft2(padded[..., channel], size) * spectrum, size) for channel in range(3)]
    # The first 2 half rows and columns have wrapped round.
    return np.stack(planes, axis=2)[2 * half :, 2 * half :][:height, :width]


def brightness(image: Pixels, factor: float, rng: RngOrNone = None) -> Pixels:
    """Return factor x, clipped (what ColorJitter calls brightness)."""
    return np.asarray(to_uint8(factor * np.arange(256) / 255)[image])


def grayscale(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Return BT.601 luma in all three channels, by Pillow."""
    return from_pil(Image.fromarray(image).convert("L"))


def color_jitter(
    image: Pixels, brightness: float, contrast: float, saturation: float, hue: float, order: int, rng: RngOrNone = None
) -> Pixels:
    """Apply ColorJitter's four changes in one of 24 orders, by Pillow; ``hue`` in turns of the circle."""
    factors = brightness, contrast, saturation
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    picture = Image.fromarray(image)
    for change in list(permutations(range(4)))[order]:
        picture = enhancers[change](picture).enhance(factors[change]) if change < 3 else _turn_hue(picture, hue)
    return from_pil(picture)


def _turn_hue(picture: Image.Image, hue: float) -> Image.Image:
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(int(hue * 255) % 256)  # wraps round, as hues do
    return Image.fromarray(hsv, "HSV").convert("RGB")


def low_resolution(image: Pixels, side: int, back: int, rng: RngOrNone = None) -> Pixels:
    """Resize to ``side`` x ``side``, then to ``back`` x ``back``, bilinear, aspect ignored."""
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return from_pil(small.resize((back, back), Image.Resampling.BILINEAR))


def resize(image: Pixels, factor: float, rng: RngOrNone = None) -> Pixels:
    """Multiply both sides by ``factor``, at least one pixel, bicubic with antialiasing."""
    height, width = (max(1, round(factor * side)) for side in image.shape[:2])
    return from_pil(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def centre_crop(image: Pixels, share: float, rng: RngOrNone = None) -> Pixels:
    """Crop the middle ``share`` of both sides, at least one pixel."""
    height, width = (max(1, round(share * side)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].copy()


def square(image: Pixels, side: int, rng: RngOrNone = None) -> Pixels:
    """Crop the largest centered square and resize it to ``side`` x ``side``, bicubic with antialiasing."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    crop = image[top : top + short, left : left + short]
    return from_pil(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))


def hflip(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Flip left and right."""
    return np.ascontiguousarray(image[:, ::-1])


def vflip(image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Flip top and bottom."""
    return np.ascontiguousarray(image[::-1])


def fit(image: Pixels, side: int, rng: RngOrNone = None) -> Pixels:
    """Make the longer side ``side`` px, bicubic with antialiasing; the shape stays."""
    factor = side / max(image.shape[:2])
    height, width = (max(1, round(factor * length)) for length in image.shape[:2])
    return from_pil(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def letterbox(image: Pixels, ratio: float, rng: RngOrNone = None) -> Pixels:
    """Add black bars on two sides until width / height is ``ratio``."""
    height, width = image.shape[:2]
    rows, columns = max(0, round(width / ratio) - height), max(0, round(height * ratio) - width)
    return np.pad(image, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)))
