"""What an expert sees of the training images: the whole image degraded, then the crop; and the same crop of it clean.

All that is random depends on the seed, the epoch and the image's content, so neither on the order of images nor on the
number of threads.
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.degradations.pixels import Pixels
from aigid.degradations.policies import apply_policy
from aigid.detectors.featdistill.settings import DataSettings
from aigid.features.preprocess import INTERPOLATIONS, Preprocess, resize_and_crop
from aigid.images import ImageError
from aigid.images.decode import decode

RATIO = (3 / 4, 4 / 3)  # of a random crop, as torchvision's RandomResizedCrop has them
MAX_TRIES = 10


class CropBox(NamedTuple):
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
class TrainDataset:
    """A manifest's images as an expert sees them."""

    images: pd.DataFrame  # with path, label, sha256
    root: Path
    settings: DataSettings
    preprocess: Preprocess
    seed: int
    aligned: bool = False  # no operator moves a pixel

    def __len__(self) -> int:
        return len(self.images)

    def take(self, epoch: int, indices: np.ndarray) -> Batch:
        """Return the images at ``indices`` (n,) as ``epoch`` shows them."""
        pairs = [self.pair(epoch, int(index)) for index in indices]
        clean, degraded = (np.stack(side) for side in zip(*pairs, strict=True))
        return Batch(clean, degraded, self.images["label"].to_numpy(np.int64)[indices])

    def pair(self, epoch: int, index: int) -> tuple[Pixels, Pixels]:
        """Return one image, clean and degraded, (S, S, 3) each."""
        row, settings = self.images.iloc[index], self.settings
        key = (self.seed, epoch, row["sha256"])
        image = limit_long_side(_decoded(self.root / row["path"]), settings.max_long_side)
        views = [image, image]
        if settings.policy is not None:
            views[1], _ = apply_policy(settings.policy, image, seeding.numpy_generator("degrade", *key), self.aligned)
        draw = seeding.numpy_generator("crop", *key)
        if settings.crop == "inference":
            views = [resize_and_crop(view, self.preprocess) for view in views]
        else:
            box = random_box(image.shape[0], image.shape[1], settings.min_area, draw)
            views = [crop_and_resize(view, box, self.preprocess) for view in views]
        if settings.hflip and draw.random() < 0.5:
            views = [np.ascontiguousarray(view[:, ::-1]) for view in views]
        return views[0], views[1]


def limit_long_side(image: Pixels, long_side: int) -> Pixels:
    """Return the image, scaled by Pillow's bicubic until its longer side fits."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def random_box(height: int, width: int, min_area: float, draw: np.random.Generator) -> CropBox:
    """Return a part of at least ``min_area`` of an image, of aspect 3:4 to 4:3; the largest square if none fits."""
    for _ in range(MAX_TRIES):
        area = height * width * draw.uniform(min_area, 1)
        aspect = exp(draw.uniform(log(RATIO[0]), log(RATIO[1])))
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return CropBox(int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1)), w, h)
    side = min(height, width)
    return CropBox((width - side) // 2, (height - side) // 2, side, side)


def crop_and_resize(image: Pixels, box: CropBox, preprocess: Preprocess) -> Pixels:
    """Return a part of an image as the encoder's square."""
    part = Image.fromarray(image[box.top : box.top + box.height, box.left : box.left + box.width])
    return np.asarray(part.resize((preprocess.size, preprocess.size), INTERPOLATIONS[preprocess.interpolation]))


def select_rows(manifest: pd.DataFrame, split: str, max_images: int | None, seed: int) -> pd.DataFrame:
    """Return at most ``max_images`` rows of a split, half of either class; InputError where a class is absent."""
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    for label in (0, 1):
        if not (rows["label"] == label).any():
            raise InputError(f"split {split!r}: no image of label {label}; training needs both")
    if max_images is None or max_images >= len(rows):
        return rows
    order = seeding.numpy_generator("featdistill rows", split, seed).permutation(len(rows))
    part = rows.iloc[order].groupby("label", group_keys=False).head(max(max_images // 2, 1))
    return part.sort_values("path").reset_index(drop=True)


def _decoded(path: Path) -> Pixels:
    try:
        return decode(path)
    except ImageError as error:
        raise InputError(f"{path}: {error.status}: {error.message}; training needs every image") from None
