"""Where generators come from: published weights, or training on a dataset's photographs; torch is imported late."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.aligned.generator import AlignSettings
from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.generators.training import GeneratorTrainingSettings, StepSettings
from aigid.images.errors import ImageError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


MAX_VAE_IMAGES = 4096  # that an autoencoder is trained on
TINY: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
}
TRAINERS = {"vae": "vae", "gan": "gan.safetensors"}  # below the stage's folder: a trained maker's own


class DomainSettings(Settings):
    """Where the maker of one domain comes from: a local path, else training, else (vae alone) the hub."""

    weights: str | None = None
    fit: GeneratorTrainingSettings | None = None
    container: Literal["own", "png"] = "own"


class AlignedSettings(Settings):
    """A dataset whose photographs get fakes of both domains."""

    dataset: str
    max_images: int | None = Field(None, ge=1)  # photographs of each split; None takes all
    vae: DomainSettings = DomainSettings()
    gan: DomainSettings = DomainSettings()


class VaeSettings(StepSettings):
    """Where the autoencoder comes from whose errors are a channel: ``weights``, ``repository``, or training."""

    dataset: str  # whose training photographs it learns from
    weights: str | None = None  # a local file or folder
    repository: str | None = None  # of the hub; its folder ``vae`` is taken
    revision: str | None = None
    size: Annotated[int, Field(ge=8)] = 32  # px of the tiles trained on
    config: dict[str, Any] = TINY  # of diffusers' AutoencoderKL
    steps: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5


def obtain_autoencoder(settings: VaeSettings, table: pd.DataFrame, root: AnyPath, seed: int) -> "AutoencoderKL":
    """Return the autoencoder of the settings; InputError where it cannot be loaded, or nothing can train it."""
    if settings.weights is not None or settings.repository is not None:
        from aigid.generators import autoencoder_kl

        return autoencoder_kl.load(settings.weights, settings.repository or "", settings.revision)
    from aigid.features.preprocess import Preprocess, resize_and_crop
    from aigid.generators.autoencoder_training import fit_autoencoder

    paths = _training_paths(table)
    if len(paths) > MAX_VAE_IMAGES:
        order = seeding.numpy_generator("vae photographs", seed).permutation(len(paths))
        paths = paths[np.sort(order[:MAX_VAE_IMAGES])]
    preprocess = Preprocess(size=settings.size, resize="squash", interpolation="bilinear")
    tiles = np.stack(_read_images(paths, root, lambda image: resize_and_crop(image, preprocess)))
    return fit_autoencoder(tiles, settings, settings.config, settings.kl_weight, seed)


def subsample(table: pd.DataFrame, max_images: int | None) -> pd.DataFrame:
    """At most so many images of each split and generator; photographs are the same whatever fakes there are."""
    if max_images is None:
        return table
    kept = []
    for (split, _), rows in table.groupby(["split", "generator"]):
        order = seeding.numpy_generator("aligned sample", split).permutation(len(rows))
        kept.append(rows.iloc[np.sort(order[:max_images])])
    return pd.concat(kept).sort_values("path", ignore_index=True)


def resolve_generator_settings(
    settings: DomainSettings, domain: str, table: pd.DataFrame, root: AnyPath, out: Path, seed: int
) -> AlignSettings:
    """Return what `make_aligned_pairs` needs; trains a small generator on training images if there are no weights."""
    weights = settings.weights
    if weights is None and settings.fit is not None:
        weights = str(out / TRAINERS[domain])
        _fit(domain)(_training_tiles(table, root), settings.fit, Path(weights))
    return AlignSettings(domain=domain, weights=weights, seed=seed, container=settings.container)


def _fit(domain: str) -> Callable[[np.ndarray, GeneratorTrainingSettings, Path], None]:
    """What trains the small maker of a domain; each has heavy imports of its own."""
    if domain == "vae":
        from aigid.generators.autoencoder_training import train_vae as fit
    else:
        from aigid.generators.srgan_training import train_super_resolution as fit
    return fit


def _training_tiles(table: pd.DataFrame, root: AnyPath) -> np.ndarray:
    """(N, S, S, 3) uint8, the readable photographs of the training split; InputError unless all are of one size."""
    images = _read_images(_training_paths(table), root)
    if len(sizes := {image.shape[:2] for image in images}) == 1:
        return np.stack(images)
    raise InputError(f"{root}: photographs of {len(sizes)} sizes; a maker is trained on those of one")


def _training_paths(table: pd.DataFrame) -> np.ndarray:
    return table["path"][(table["split"] == "train") & (table["label"] == 0)].to_numpy()


def _read_images(
    paths: Iterable[str], root: AnyPath, transform: Callable[[np.ndarray], np.ndarray] = lambda image: image
) -> list[np.ndarray]:
    """Decode and transform the readable images (others are named by the stage that needs each); InputError for none."""
    from aigid.images.decode import decode

    images = []
    for path in paths:
        with suppress(ImageError):
            images.append(transform(decode(root / path)))
    if not images:
        raise InputError(f"{root}: no readable photograph in the training split")
    return images
