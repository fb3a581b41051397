"""The demo dataset: photographs that ship inside installed packages, and what small generators make of them."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field, model_validator
from tqdm import tqdm

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.degradations.filters import match_local_energy
from aigid.generators import GeneratorTrainingSettings
from aigid.images import Pixels, has_color

Name = Literal[
    "astronaut", "brick", "camera", "chelsea", "china", "coffee", "coins", "flower", "grace_hopper", "gravel", "ihc",
    "motorcycle", "retina", "rocket",
]  # fmt: skip


class Origin(NamedTuple):
    """Where a photograph lies, the kind of camera that took it, and its licence as the package states it."""

    package: str
    file: str
    source: str
    licence: str


# Left out as no photographs: drawings, text pages, phantoms and test patterns, the Hubble field, a composite in false
# colors, and grass, perhaps rendered; clock, moon and cell as too flat. The motorcycle is the left half of a stereo
# pair, whose right half shows the same scene again.
SOURCE_IMAGES: dict[Name, Origin] = {
    "astronaut": Origin("skimage", "data/astronaut.png", "camera", "public domain (NASA)"),
    "brick": Origin("skimage", "data/brick.png", "camera", "CC0 (CC0Textures)"),
    "camera": Origin("skimage", "data/camera.png", "camera", "CC0 (Lav Varshney)"),
    "chelsea": Origin("skimage", "data/chelsea.png", "camera", "CC0 (Stefan van der Walt)"),
    "china": Origin("sklearn", "datasets/images/china.jpg", "camera", "CC BY 2.0 (danielbuechele)"),
    "coffee": Origin("skimage", "data/coffee.png", "camera", "CC0 (Rachel Michetti)"),
    "coins": Origin("skimage", "data/coins.png", "camera", "no known restrictions (Brooklyn Museum)"),
    "flower": Origin("sklearn", "datasets/images/flower.jpg", "camera", "CC BY 2.0 (vultilion)"),
    "grace_hopper": Origin("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "camera", "public domain (US Navy)"),
    "gravel": Origin("skimage", "data/gravel.png", "camera", "CC0 (CC0Textures)"),
    "ihc": Origin("skimage", "data/ihc.png", "microscope", "no known restrictions (CMMI)"),
    "motorcycle": Origin("skimage", "data/motorcycle_left.png", "camera", "none stated (Middlebury 2014 stereo data)"),
    "retina": Origin("skimage", "data/retina.jpg", "fundus_camera", "CC0 (Mikael Häggström)"),
    "rocket": Origin("skimage", "data/rocket.jpg", "camera", "public domain (SpaceX)"),
}
GeneratorName = Literal["bilinear", "dcgan", "diffusion", "srgan", "vae", "vqvae"]
COLUMNS = ["path", "label", "generator", "split", "source", "group"]


class DemoSettings(GeneratorTrainingSettings):
    """What the demo dataset is made of."""

    train: tuple[Name, ...] = Field(("astronaut", "brick", "coffee", "motorcycle", "retina", "rocket"), min_length=1)
    val: tuple[Name, ...] = ("coins", "flower", "grace_hopper")
    test: tuple[Name, ...] = ("camera", "chelsea", "china", "gravel", "ihc")
    seen: tuple[GeneratorName, ...] = ("vae", "vqvae")  # make fakes for every split
    unseen: tuple[GeneratorName, ...] = ("bilinear", "dcgan", "diffusion", "srgan")  # make fakes for test alone
    tile_size: int = Field(128, ge=16, multiple_of=4)  # px
    stride: int = Field(64, ge=4, multiple_of=4)  # px from one tile to the next; below tile_size they overlap
    tiles_per_photograph: int = Field(12, ge=1)
    # Of real and generated photographs, once these are made: both lose the grid of an old JPEG, and of a generator.
    scale: float = Field(0.85, gt=0, le=1)
    patch_size: int = Field(32, ge=16, multiple_of=4)  # px of what the generators train on, cut from training tiles
    min_variance: float = 1.5  # gray levels between neighboring pixels, on average over a tile

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        for names in (self.train + self.val + self.test, self.seen + self.unseen):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{twice[0]!r} stands twice")
        return self

    @model_validator(mode="after")
    def _patches_fill_a_tile(self) -> Self:
        if self.tile_size % self.patch_size:
            raise ValueError(f"patch_size={self.patch_size} does not divide tile_size={self.tile_size}")
        return self


@dataclass(frozen=True)
class SourceImage:
    """One photograph, (H, W, 3) uint8, and the kind of camera that took it."""

    name: str
    image: Pixels
    source: str


def load_source_images() -> list[SourceImage]:
    """Return the color photographs of the installed packages, by name; nothing is downloaded."""
    images = []
    for name, (package, file, source, _) in SOURCE_IMAGES.items():
        with resources.as_file(resources.files(package) / file) as path, Image.open(path) as image:
            images.append(SourceImage(name, np.array(image.convert("RGB")), source))
    return images


def downscale(image: Pixels, settings: DemoSettings) -> Pixels:
    """Return ``image`` with its sides cut to multiples of four, as every generator gives it, times ``scale``."""
    height, width = (side // 4 * 4 for side in image.shape[:2])
    size = round(width * settings.scale), round(height * settings.scale)
    return np.asarray(Image.fromarray(image[:height, :width]).resize(size, Image.Resampling.BICUBIC))


def extract_tiles(image: Pixels, source: SourceImage, settings: DemoSettings) -> Pixels:
    """Return the squares of ``image`` that lie where ``source`` is tiled, (N, S, S, 3) uint8."""
    size = settings.tile_size
    return np.stack([image[y : y + size, x : x + size] for y, x in tile_positions(source, settings)])


def tile_positions(source: SourceImage, settings: DemoSettings) -> list[tuple[int, int]]:
    """Return top left corners (y, x): a grid less its flat squares, at most ``tiles_per_photograph`` of it."""
    image, size = source.image, settings.tile_size
    rows, columns = (range(0, side - size + 1, settings.stride) for side in image.shape[:2])
    grid = [(y, x) for y in rows for x in columns]
    rich = [(y, x) for y, x in grid if local_variance(image[y : y + size, x : x + size]) >= settings.min_variance]
    if not rich:
        raise InputError(f"demo: no {size} px tile of {source.name!r} has min_variance={settings.min_variance}")
    order = seeding.numpy_generator("demo tiles", settings.seed, source.name).permutation(len(rich))
    return [rich[i] for i in sorted(order[: settings.tiles_per_photograph])]


def cut_patches(tiles: Pixels, size: int) -> Pixels:
    """Return the squares (N * (S / size)**2, size, size, 3) that fill tiles (N, S, S, 3)."""
    num = tiles.shape[1] // size
    patches = tiles.reshape(-1, num, size, num, size, 3).swapaxes(2, 3)
    return np.ascontiguousarray(patches).reshape(-1, size, size, 3)


def local_variance(image: Pixels) -> float:
    """Return the mean absolute difference of neighboring pixels, in gray levels."""
    gray = image.mean(axis=2)
    return float(np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean()) / 2


def build(settings: DemoSettings, root: Path) -> pd.DataFrame:
    """Write the images below ``root`` (``<split>/<generator>/<photograph>_<tile>.png``); the manifest, sorted by path.

    A fake is a photograph remade by a generator, cut where the photograph itself is cut. Several generators are trained
    at once, a process each, as a layer of theirs has no work for a second core.
    """
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root}: not empty; the demo dataset wants a folder of its own")
    known = {source.name: source for source in load_source_images()}
    splits = {split: [known[name] for name in getattr(settings, split)] for split in ("train", "val", "test")}
    tiles = np.concatenate([extract_tiles(source.image, source, settings) for source in splits["train"]])
    patches = cut_patches(tiles, settings.patch_size)
    names = ["real", *settings.seen, *settings.unseen]
    write = partial(_write_generator, patches=patches, splits=splits, settings=settings, root=root)
    with ProcessPoolExecutor(min(num_workers(), len(names)), get_context("spawn")) as pool:
        parts = tqdm(pool.map(write, names), "demo", len(names), unit="generator", disable=None)
        rows = [row for part in parts for row in part]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("path", ignore_index=True)


def _write_generator(
    name: str, patches: Pixels, splits: dict[str, list[SourceImage]], settings: DemoSettings, root: Path
) -> list[tuple[str, int, str, str, str, str]]:
    """Write the images of a generator, or of the photographs themselves; return their rows of the manifest."""
    from aigid.generators import training  # torch, once the settings are known to be good

    generator, rows = None if name == "real" else training.fit(name, patches, settings), []
    for split in ["test"] if name in settings.unseen else splits:
        (root / split / name).mkdir(parents=True, exist_ok=True)
        for source in splits[split]:
            small = replace(source, image=downscale(source.image, settings))
            image = small.image
            if generator:
                fake = training.reconstruct(generator, source.image, settings.seed, source.name)
                if not has_color(source.image):  # a faint color would give the fake away
                    fake = np.asarray(Image.fromarray(fake).convert("L").convert("RGB"))
                image = match_local_energy(downscale(fake, settings), small.image)
            for number, tile in enumerate(extract_tiles(image, small, settings)):
                path = f"{split}/{name}/{source.name}_{number:03d}.png"
                Image.fromarray(tile).save(root / path)
                rows.append((path, int(name != "real"), name, split, source.source, source.name))
    return rows
