"""What an expert sees of the training images: a crop of the degraded image, or degraded; and a second view of it.

All that is random depends on the stage, the seed, the epoch and the image's content, so neither on the order of images
nor on the number of processes.
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.degradations.operators import GEOMETRIC
from aigid.degradations.pixels import Pixels
from aigid.degradations.policies import apply_policy
from aigid.degradations.views import policy_to_dict
from aigid.detectors.featdistill.model import DROPOUT, HIDDEN
from aigid.detectors.featdistill.settings import DataSettings, SecondView
from aigid.features.preprocess import INTERPOLATIONS, Preprocess, resize_and_crop
from aigid.images import ImageError
from aigid.images.decode import decode

RATIO = (3 / 4, 4 / 3)  # of a random crop, as torchvision's RandomResizedCrop has them
MAX_TRIES = 10
Array = Any  # (n, ...), as it is read; a tensor where it is computed with


class CropBox(NamedTuple):
    """A part of an image in px."""

    left: int
    top: int
    width: int
    height: int


class Batch(NamedTuple):
    """``degraded`` crops (n, S, S, 3) uint8, ``y`` (n,) int64, and the ``second`` view like the first, where made.

    ``dropout_mask`` (n, HIDDEN) bool are the head's units that dropout leaves.
    """

    degraded: Array
    y: Array
    dropout_mask: Array
    second: Array | None = None


@dataclass(frozen=True)
class TrainDataset:
    """A manifest's images as an expert sees them in a stage.

    The ``second`` view of an image is the same crop as it was (``clean``), or degraded, cropped and mirrored by draws
    of its own (``augmented``).
    """

    images: pd.DataFrame  # with path, label, sha256
    root: Path
    settings: DataSettings
    preprocess: Preprocess
    seed: int
    stage: int
    aligned: bool = False  # no operator moves a pixel
    second: SecondView = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, epoch: int, indices: np.ndarray) -> Batch:
        """Return the images at ``indices`` (n,) as ``epoch`` shows them."""
        degraded, *others = (np.stack(view) for view in zip(*(self.views(epoch, i) for i in indices), strict=True))
        draws = (seeding.numpy_generator("dropout", *self.key(epoch, index)) for index in indices)
        dropout_mask = np.stack([draw.random(HIDDEN) >= DROPOUT for draw in draws])
        return Batch(degraded, self.images["label"].to_numpy(np.int64)[indices], dropout_mask, *others)

    def key(self, epoch: int, index: int) -> tuple[str | int, ...]:
        """Return what decides all that is random about an image."""
        return f"stage {self.stage}", self.seed, epoch, self.images["sha256"].iloc[index]

    def views(self, epoch: int, index: int) -> list[Pixels]:
        """Return one image degraded, and its second view if there is one, (S, S, 3) each."""
        path, key = self.images["path"].iloc[index], self.key(epoch, index)
        image = limit_long_side(_decoded(self.root / path), self.settings.max_long_side)
        views = [self._view(image, True, *key)]
        if self.second == "clean":
            views.append(self._view(image, False, *key))
        elif self.second == "augmented":
            views.append(self._view(image, True, "second", *key))
        return views

    def _view(self, image: Pixels, degraded: bool, *key: str | int) -> Pixels:
        settings, draw = self.settings, seeding.numpy_generator("crop", *key)
        if degraded and settings.degrade == "image":
            image = self.degrade(image, *key)
        if settings.crop == "inference":
            image = resize_and_crop(image, self.preprocess)
        else:
            box = random_box(image.shape[0], image.shape[1], settings.min_area, draw)
            image = crop_and_resize(image, box, self.preprocess)
        if degraded and settings.degrade == "crop":
            image = self.degrade(image, *key)
        return np.ascontiguousarray(image[:, ::-1]) if settings.hflip and draw.random() < 0.5 else image

    def degrade(self, image: Pixels, *key: str | int) -> Pixels:
        """Return the image after a sample of the policy, if there is one, without the operators that are held out."""
        policy, removed = self.settings.policy, frozenset(self.settings.held_out_operators)
        if policy is None:
            return image
        rng = seeding.numpy_generator("degrade", *key)
        return apply_policy(policy, image, rng, removed | (GEOMETRIC if self.aligned else frozenset()))[0]


def policy_definition(settings: DataSettings) -> dict[str, object] | None:
    """Return what the degradations of training are, which makes a checkpoint of others useless."""
    if settings.policy is None:
        return None
    return policy_to_dict(settings.policy, frozenset(settings.held_out_operators))


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
    part = rows.iloc[order].groupby("label", group_keys=False).head(max_images // 2)
    return part.sort_values("path").reset_index(drop=True)


def _decoded(path: Path) -> Pixels:
    try:
        return decode(path)
    except ImageError as error:
        raise InputError(f"{path}: {error.status}: {error.message}; training needs every image") from None
