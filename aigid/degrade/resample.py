"""Operators that change the size of an image."""

from PIL import Image

from aigid.degrade.pixels import Pixels, Rng, from_pil


def low_resolution(image: Pixels, side: int, back: int, rng: Rng = None) -> Pixels:
    """The whole image resized to ``side`` x ``side``, then to ``back`` x ``back``, bilinear, aspect ignored."""
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return from_pil(small.resize((back, back), Image.Resampling.BILINEAR))


def centre_crop(image: Pixels, share: float, rng: Rng = None) -> Pixels:
    """The middle ``share`` of both sides, at least one pixel."""
    height, width = (max(1, round(share * side)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width].copy()


def square(image: Pixels, side: int, rng: Rng = None) -> Pixels:
    """The largest centred square, resized to ``side`` x ``side``, bicubic with antialiasing."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    crop = image[top : top + short, left : left + short]
    return from_pil(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))
