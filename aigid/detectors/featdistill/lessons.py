"""What an expert sees of the training images: the whole image degraded, then the crop; and the same crop of it clean.

All that is drawn depends on the seed, the epoch and the image's content, so neither on the order of images nor on the
number of threads.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.base.files import num_workers
from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode
from aigid.degrade.pixels import Pixels
from aigid.degrade.policies import augment
from aigid.detectors.featdistill.settings import LessonSettings
from aigid.features.preprocess import INTERPOLATIONS, Preprocess, to_square

ASPECTS = (3 / 4, 4 / 3)  # of a random crop, as torchvision's RandomResizedCrop has them
TRIES = 10


class Box(NamedTuple):
    """A part of an image in px."""

    left: int
    top: int
    width: int
    height: int


class Batch(NamedTuple):
    """``clean`` and ``degraded`` (n, S, S, 3) uint8 of the same crops, and ``y`` (n,) int64."""

    clean: np.ndarray
    degraded: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Lessons:
    """A manifest's images as an expert is shown them."""

    images: pd.DataFrame  # with path, label, sha256
    root: Path
    settings: LessonSettings
    how: Preprocess
    seed: int
    aligned: bool = False  # no operator moves a pixel

    def __len__(self) -> int:
        return len(self.images)

    def take(self, epoch: int, places: np.ndarray, pool: ThreadPoolExecutor | None = None) -> Batch:
        """The images at ``places`` (n,) as ``epoch`` shows them."""
        if pool is None:
            with ThreadPoolExecutor(num_workers()) as pool:
                return self.take(epoch, places, pool)
        pairs = list(pool.map(lambda place: self.pair(epoch, int(place)), places))
        y = self.images["label"].to_numpy(np.int64)[places]
        return Batch(*(np.stack(side) for side in zip(*pairs, strict=True)), y)

    def pair(self, epoch: int, place: int) -> tuple[Pixels, Pixels]:
        """One image, clean and degraded, (S, S, 3) each."""
        row, settings = self.images.iloc[place], self.settings
        key = (self.seed, epoch, row["sha256"])
        image = at_most(_decoded(self.root / row["path"]), settings.max_long_side)
        worse = image
        if settings.policy is not None:
            worse, _ = augment(settings.policy, image, seeding.generator("degrade", *key), self.aligned)
        draw = seeding.generator("crop", *key)
        show = self._crop(image.shape[:2], draw)
        turn = settings.hflip and draw.random() < 0.5
        clean, degraded = (np.ascontiguousarray(it[:, ::-1]) if turn else it for it in map(show, (image, worse)))
        return clean, degraded

    def _crop(self, shape: tuple[int, int], draw: np.random.Generator):
        if self.settings.crop == "inference":
            return lambda image: to_square(image, self.how)
        box = random_box(*shape, self.settings.min_area, draw)
        return lambda image: resized(image, box, self.how)


def at_most(image: Pixels, long_side: int) -> Pixels:
    """The image, scaled by Pillow's bicubic until its longer side fits."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    return np.asarray(
        Image.fromarray(image).resize((max(round(width * scale), 1), max(round(height * scale), 1)), Image.BICUBIC)
    )


def random_box(height: int, width: int, smallest: float, draw: np.random.Generator) -> Box:
    """A part of at least ``smallest`` of the area, of aspect 3:4 to 4:3; the largest such square if none fits."""
    for _ in range(TRIES):
        area = height * width * draw.uniform(smallest, 1)
        aspect = exp(draw.uniform(log(ASPECTS[0]), log(ASPECTS[1])))
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1)), w, h)
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side, side)


def resized(image: Pixels, box: Box, how: Preprocess) -> Pixels:
    """A part of an image as the encoder's square."""
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    return np.asarray(Image.fromarray(part).resize((how.size, how.size), INTERPOLATIONS[how.interpolation]))


def chosen(manifest: pd.DataFrame, split: str, most: int | None, seed: int) -> pd.DataFrame:
    """The rows of a split, at most ``most`` of them, half of either class; InputError where a class is absent."""
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    for label in (0, 1):
        if not (rows["label"] == label).any():
            raise InputError(f"split {split!r}: no image of label {label}; training needs both")
    if most is None or most >= len(rows):
        return rows
    order = seeding.generator("featdistill rows", split, seed).permutation(len(rows))
    part = rows.iloc[order].groupby("label", group_keys=False).head(max(most // 2, 1))
    return part.sort_values("path").reset_index(drop=True)


def _decoded(path: Path) -> Pixels:
    try:
        return decode(path)
    except ImageError as error:
        raise InputError(f"{path}: {error.status}: {error.message}; training needs every image") from None
