"""The two ways from a file's bytes to a tower's square: ``exact``, which is the reference, and ``fast``.

``fast`` lets libjpeg-turbo decode plain JPEGs straight into a tensor, and torch resample bytes. Pillow decodes to the
same bytes; its resampling differs by at most 1, but where it scales by less than 2, by 2 in a few of a million values.
All that is not a plain JPEG, or fails, is decoded as ``exact`` does: both refuse the same files for the same reasons.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from aigid.features import preprocess
from aigid.features.preprocess import Preprocess, resize_and_crop
from aigid.images.decode import decode, has_flat_tail, is_plain_jpeg

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


class DecodeBackend(NamedTuple):
    """Bytes to pixels (H, W, 3) uint8, or ImageError; and pixels to a tower's (S, S, 3) uint8."""

    decode: Callable[[bytes], np.ndarray]
    to_square: Callable[[np.ndarray, Preprocess], np.ndarray]


def _decode_fast(content: bytes) -> np.ndarray:
    if not is_plain_jpeg(content):
        return decode(content)
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    except RuntimeError:
        return decode(content)
    image = pixels.permute(1, 2, 0).numpy()
    return decode(content) if has_flat_tail(image) else image


def _to_square_fast(image: np.ndarray, how: Preprocess) -> np.ndarray:
    return resize_and_crop(image, how, _resample_fast)


def _resample_fast(image: np.ndarray, scaled: tuple[int, int], interpolation: str) -> np.ndarray:
    """As ``preprocess.resample``, the two passes in Pillow's order."""
    if interpolation not in MODES:
        return preprocess.resample(image, scaled, interpolation)
    (height, width), (across, down) = image.shape[:2], scaled
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)
    if _vertical_pass_first() and height - down > max(0, 2 * (width - across)):
        pixels = functional.resize(pixels, [down, width], MODES[interpolation], antialias=True)
    pixels = functional.resize(pixels, [down, across], MODES[interpolation], antialias=True)
    return pixels.permute(1, 2, 0).numpy()


@cache
def _vertical_pass_first() -> bool:
    """Whether this Pillow scales the height first where it loses more than twice what the width does, as 13 does.

    Bytes are rounded between the passes, so their order shows.
    """
    tall = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 8, 3)).astype(np.uint8))
    both, first = tall.resize((6, 10), Image.Resampling.BICUBIC), tall.resize((8, 10), Image.Resampling.BICUBIC)
    return both == first.resize((6, 10), Image.Resampling.BICUBIC)


DECODE_BACKENDS = {
    "exact": DecodeBackend(decode, resize_and_crop),
    "fast": DecodeBackend(_decode_fast, _to_square_fast),
}
