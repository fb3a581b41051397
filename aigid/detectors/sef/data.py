"""Aligned pairs on disk, as `aigid.aligned.pairs.make_aligned_pairs` writes them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aigid.core import seeding
from aigid.core.errors import InputError, parse_json
from aigid.degradations.filters import dct_mix, match_jpeg_quality, pixel_mix
from aigid.degradations.operators import apply_operators
from aigid.degradations.policies import get_policy
from aigid.detectors.sef.settings import SamplingSettings
from aigid.images import ImageError
from aigid.images.decode import decode

PAIRS_FILE = "aligned.jsonl"
FILTERS = tuple(Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS"))
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Some pairs of one domain; a record holds ``real``, ``fake`` (paths below ``root``), perhaps ``quality``, more."""

    root: Path
    records: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return photograph and fake, (H, W, 3) uint8; InputError where they cannot be read or differ in size."""
        record = self.records[index]
        try:
            real, fake = (decode(self.root / record[kind]) for kind in ("real", "fake"))
        except ImageError as error:
            raise InputError(f"{self.root}: pair of {record['real']}: {error}") from None
        if real.shape != fake.shape:
            raise InputError(f"{self.root}: pair of {record['real']}: {real.shape[:2]} and {fake.shape[:2]} px")
        return real, fake

    def split(self, name: str) -> "Pairs":
        """Return those of ``train``, ``val`` or ``test``."""
        return Pairs(self.root, [record for record in self.records if record["real"].startswith(f"{name}/")])

    def warn_of_small(self, crop: int) -> None:
        """Log a warning where photographs are smaller than the crop: they are padded with black, as in DDA."""
        small = [record for record in self.records if min(record["width"], record["height"]) < crop]
        if small:
            size = f"{small[0]['width']} x {small[0]['height']} px"
            count = f"{len(small)} of {len(self)} photographs are smaller than the crop of {crop} px"
            logger.warning("%s: %s and are padded, such as %s of %s", self.root, count, small[0]["real"], size)


def open_pairs(root: Path) -> Pairs:
    """Return all pairs of a folder; InputError where it holds none, or where one lacks its partner."""
    try:
        lines = (root / PAIRS_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{root}: no {PAIRS_FILE}; `aigid align` writes it") from None
    try:
        records = [parse_json(line) for line in lines]
        paths = [record[kind] for record in records for kind in ("real", "fake")]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{root / PAIRS_FILE}: not a record of pairs: {error}; `aigid align` writes it") from None
    if missing := [path for path in paths if not (root / path).is_file()]:
        raise InputError(f"{root}: a pair without its partner: no {missing[0]} ({len(missing)} such files)")
    if not records:
        raise InputError(f"{root}: no pairs")
    return Pairs(root, records)


def make_batch(
    real: np.ndarray,
    fake: np.ndarray,
    quality: int | None,
    settings: SamplingSettings,
    size: int,
    key: Sequence[str | int],
) -> np.ndarray:
    """Return DDA's images of a pair (H, W, 3) uint8: the photograph at each scale, then the fake, as `labels` says.

    (2 + 2 x scales, size, size, 3). The fake is aligned, both are rescaled, and every whole image is augmented, padded
    and cropped from the same state of chance, which comes from ``key``: all take the same decisions, and those of one
    size the same noise and place.
    """
    rng = seeding.numpy_generator("sef pair", *key)
    pair = [real, augment_fake(real, fake, quality, settings, rng)]
    scales = [pair]
    kinds = rng.permutation(len(FILTERS))
    for (low, high), kind in zip(settings.scales, kinds, strict=False):
        factor = rng.uniform(low, high)
        scales.append([resize(image, factor, FILTERS[kind]) for image in pair])
    operators = get_policy(settings.policy).sample(rng)

    def member(image: np.ndarray) -> np.ndarray:
        augmented = apply_operators(operators, image, seeding.numpy_generator("sef noise", *key))
        return random_crop(augmented, size, seeding.numpy_generator("sef crop", *key))

    return np.stack([member(images[kind]) for kind in (0, 1) for images in scales])


def labels(num_pairs: int, settings: SamplingSettings) -> np.ndarray:
    """Return labels (N,) int64 of the images of so many pairs of ``make_batch``, one pair after the other."""
    return np.tile(np.repeat([0, 1], 1 + len(settings.scales)), num_pairs)


def augment_fake(
    real: np.ndarray, fake: np.ndarray, quality: int | None, settings: SamplingSettings, rng: np.random.Generator
) -> np.ndarray:
    """Return a fake closer to its photograph: compressed as it was, then mixed with it, in pixels, by DCT, or both.

    The two mixes come in random order; always as many random numbers.
    """
    acts = rng.random(3) < (settings.quality, settings.pixel_mix, settings.dct_mix)
    shares, order = rng.uniform(0, settings.max_mix, 2), rng.permutation(2)
    if acts[0]:
        fake = match_jpeg_quality(fake, quality)
    for which in order:
        if acts[1 + which]:
            fake = (pixel_mix, dct_mix)[which](real, fake, shares[which])
    return fake


def resize(image: np.ndarray, factor: float, kind: Image.Resampling) -> np.ndarray:
    """Return the image with both sides times ``factor``, truncated, at least 1 px."""
    height, width = (max(int(side * factor), 1) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), kind))


def random_crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square (size, size, 3) at a random position, of an image that is padded with black if smaller."""
    missing = [max(size - side, 0) for side in image.shape[:2]]
    padded = np.pad(image, [*((pixels // 2, pixels - pixels // 2) for pixels in missing), (0, 0)])
    top, left = (int(rng.integers(side - size, endpoint=True)) for side in padded.shape[:2])
    return padded[top : top + size, left : left + size]
