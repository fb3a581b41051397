"""From an image of any size to the square that a backbone was trained on, exactly as its authors do it."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from aigid.core.params import Settings

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MEAN_STD_05 = (0.5, 0.5, 0.5)
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class Preprocess(Settings):
    """How an image becomes a backbone's input; ``mean`` and ``std`` are per channel on the scale 0 to 1.

    ``resize``: ``shortest`` scales the shorter side and cuts the centre (CLIP); ``squash`` ignores the aspect ratio
    (SigLIP); ``none`` cuts the centre and pads with black (UniversalFakeDetect's validation).
    """

    size: Annotated[int, Field(ge=8, le=2048)]
    resize: Literal["shortest", "squash", "none"] = "shortest"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD


def resample(image: np.ndarray, scaled: tuple[int, int], interpolation: str) -> np.ndarray:
    """(H, W, 3) uint8 to the (width, height) ``scaled``, by Pillow."""
    return np.asarray(Image.fromarray(image).resize(scaled, INTERPOLATIONS[interpolation]))


def resize_and_crop(
    image: np.ndarray, how: Preprocess, resample: Callable[[np.ndarray, tuple[int, int], str], np.ndarray] = resample
) -> np.ndarray:
    """(H, W, 3) uint8 to (size, size, 3) uint8, as torchvision's Resize and CenterCrop do on a PIL image."""
    height, width = image.shape[:2]
    if how.resize == "squash":
        scaled = (how.size, how.size)
    elif how.resize == "shortest":
        short = min(height, width)
        scaled = (int(how.size * width / short), int(how.size * height / short))
    else:
        scaled = (width, height)
    if scaled != (width, height):
        image = resample(image, scaled, how.interpolation)
    return _centre(image, how.size)


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    pads = [(max(size - side, 0) // 2, (max(size - side, 0) + 1) // 2) for side in image.shape[:2]]
    if any(map(any, pads)):
        image = np.pad(image, [*pads, (0, 0)])
    top, left = (round((side - size) / 2.0) for side in image.shape[:2])
    return image[top : top + size, left : left + size]
