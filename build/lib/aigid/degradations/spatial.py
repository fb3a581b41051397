"""Operators of bytes that resize, crop or flip an image."""

import numpy as np
from PIL import Image

from aigid.degradations.pixels import Pixels, RngOrNone, from_pil


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
