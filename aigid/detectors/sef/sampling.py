"""From a pair to a lesson (DDA): a photograph and its fake, both at other scales, all under one draw of augmentation.

Images are (H, W, 3) uint8.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from aigid.align.mixing import align_quality, dct_mix, pixel_mix
from aigid.base import seeding
from aigid.degrade.operators import run
from aigid.degrade.policies import policy
from aigid.detectors.sef.settings import SamplingSettings

FILTERS = tuple(Image.Resampling)


def lesson(
    real: np.ndarray,
    fake: np.ndarray,
    quality: int | None,
    settings: SamplingSettings,
    size: int,
    key: Sequence[str | int],
) -> np.ndarray:
    """(2 + 2 x scales, size, size, 3): photograph, fake, photograph, fake, ...; all chance comes from ``key``."""
    rng = seeding.generator("sef pair", *key)
    pair = (real, harden(real, fake, quality, settings, rng))
    members = same_crop(pair, size, rng)
    for low, high in settings.scales:
        factor, kind = rng.uniform(low, high), FILTERS[rng.integers(len(FILTERS))]
        members += same_crop([rescaled(image, factor, kind) for image in pair], size, rng)
    drawn = policy(settings.policy).draw(rng)
    return np.stack([run(drawn, image, seeding.generator("sef noise", *key)) for image in members])


def labels(num_pairs: int, settings: SamplingSettings) -> np.ndarray:
    """(N,) int64 of the lessons of so many pairs."""
    return np.tile([0, 1], num_pairs * (1 + len(settings.scales)))


def harden(
    real: np.ndarray, fake: np.ndarray, quality: int | None, settings: SamplingSettings, rng: np.random.Generator
) -> np.ndarray:
    """A fake that is closer to its photograph: compressed as it was, mixed with it; always the same number of draws."""
    acts = rng.random(3) < (settings.quality, settings.pixel_mix, settings.dct_mix)
    shares = rng.uniform(0, settings.max_mix, 2)
    if acts[0]:
        fake = align_quality(fake, quality)
    if acts[1]:
        fake = pixel_mix(real, fake, shares[0])
    if acts[2]:
        fake = dct_mix(real, fake, shares[1])
    return fake


def rescaled(image: np.ndarray, factor: float, kind: Image.Resampling) -> np.ndarray:
    """The image with both sides times ``factor``, at least 1 px."""
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), kind))


def same_crop(images: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Squares (size, size, 3) of images of one shape, all at one random place; what is smaller is padded with black."""
    height, width = images[0].shape[:2]
    assert all(image.shape == images[0].shape for image in images)
    down, right = max(size - height, 0), max(size - width, 0)
    padded = [
        np.pad(image, ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))) for image in images
    ]
    top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in (height, width))
    return [image[top : top + size, left : left + size] for image in padded]
