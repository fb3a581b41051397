"""Settings and sources of the generators of aligned fakes (SEF, arXiv 2605.14486); torch is imported late."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.generators import SD21, GeneratorTrainingSettings, StepSettings
from aigid.images import ImageError

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL
    from torch import Tensor, nn

DOMAINS = {
    "gan": "shrunken by 4 and enlarged again by a super-resolution GAN",
    "vae": "through a latent diffusion model's autoencoder and back",
}
MAX_VAE_IMAGES = 4096  # that an autoencoder is trained on
MAX_TRAINING_SHAPE = 128, 128  # px of the middle of an image that a generator of a domain is trained on
TINY: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
}
TRAINED_WEIGHTS = {"vae": "vae", "gan": "gan.safetensors"}  # in the stage's folder
Pixels = NDArray[np.uint8]


class PairSettings(Settings):
    """How the members of a pair are made and written; ``crop: middle`` and ``rounding: truncate`` are DDA's."""

    # Both members of a pair as the real image's file is (JPEG by its own tables, else PNG), or both as PNG.
    container: Literal["own", "png"] = "own"
    crop: Literal["block", "middle"] = "block"  # to multiples of 8 px, from a JPEG block's start or in the middle
    rounding: Literal["nearest", "truncate"] = "nearest"  # of the fake, to bytes
    match_energy: bool = False  # give the fake's details the local energy of the real image's


class AlignSettings(PairSettings):
    """What decides the bytes of aligned fakes."""

    domain: str
    weights: str | None = None  # a local file or folder; without it, the hub (`vae` alone)
    model: str = SD21  # vae: the repository on the hub, of the tensors that DDA took
    revision: str | None = None  # of the repository; None takes the one whose sha256 is known, else the newest
    scaling_factor: float = 0.18215  # vae: of its latents, that of Stable Diffusion 1 and 2; tells latent spaces apart
    seed: int = 0  # vae: of the posterior's samples


class DomainSettings(PairSettings):
    """Where the generator of one domain comes from: a local path, else training, else (vae alone) the hub."""

    weights: str | None = None
    fit: GeneratorTrainingSettings | None = None


class VaeDomainSettings(DomainSettings):
    """The same, and which repository of the hub."""

    model: str = SD21
    revision: str | None = None


class AlignedSettings(Settings):
    """A dataset whose real images get fakes of both domains."""

    dataset: str
    max_images: int | None = Field(None, ge=1)  # real images of each split; None takes all
    quality_map: str | None = None  # JSON in the dataset's folder: the JPEG quality that an image once had, by name
    vae: VaeDomainSettings = VaeDomainSettings()
    gan: DomainSettings = DomainSettings()


class VaeSettings(StepSettings):
    """Where the autoencoder comes from whose errors are a channel: ``weights``, ``repository``, or training."""

    dataset: str  # whose training images it learns from
    weights: str | None = None  # a local file or folder
    repository: str | None = None  # of the hub; its folder ``vae`` is taken
    revision: str | None = None
    size: Annotated[int, Field(ge=8)] = 32  # px of the tiles trained on
    config: dict[str, Any] = TINY  # of diffusers' AutoencoderKL
    steps: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5


class FakeGenerator(Protocol):
    """A frozen ``nn.Module`` whose fakes have the content of their images, pixel by pixel.

    ``architecture`` and the tensors of ``network`` decide what it does, as far as the seed does not.
    """

    network: "nn.Module"
    size_multiple: int  # px; of height and width
    architecture: dict[str, Any]

    def __call__(self, images: "Tensor", digests: list[str]) -> "Tensor":
        """Map (B, 3, H, W) in [0, 1] to fakes, about [0, 1]; random numbers depend on the images' sha256 alone."""

    def to(self, device: "torch.device") -> "FakeGenerator": ...


def check_domain(domain: str) -> None:
    """Raise InputError that lists the known domains."""
    if domain not in DOMAINS:
        raise InputError(f"unknown domain {domain!r}; known: {', '.join(DOMAINS)}")


def load_generator(settings: AlignSettings) -> FakeGenerator:
    """Return the generator of a domain, on the CPU; InputError where it cannot be loaded."""
    check_domain(settings.domain)
    if settings.domain == "gan":
        from aigid.generators import srgan

        return srgan.load(settings.weights)
    from aigid.generators import autoencoder_kl as kl

    return kl.load_generator(
        settings.weights, settings.model, settings.revision, settings.scaling_factor, settings.seed
    )


def resolve_generator_settings(
    settings: DomainSettings, domain: str, table: pd.DataFrame, root: AnyPath, out: Path, seed: int
) -> AlignSettings:
    """Return what ``make_aligned_pairs`` needs; trains a small generator on training images if there are no weights."""
    weights = settings.weights
    if weights is None and settings.fit is not None:
        weights = str(out / TRAINED_WEIGHTS[domain])
        train: Callable[[Pixels, GeneratorTrainingSettings, Path], None]
        if domain == "vae":
            from aigid.generators.autoencoder_training import train_vae as train
        else:
            from aigid.generators.srgan import train_super_resolution as train
        images = _training_images(table, root, lambda image: _middle(image, *MAX_TRAINING_SHAPE))
        train(images, settings.fit, Path(weights))
    chosen = settings.model_dump(exclude={"fit", "weights"})
    return AlignSettings(domain=domain, weights=weights, seed=seed, **chosen)


def obtain_autoencoder(settings: VaeSettings, table: pd.DataFrame, root: AnyPath, seed: int) -> "AutoencoderKL":
    """Return the autoencoder of the settings; InputError where it cannot be loaded, or nothing can train it."""
    from aigid.generators import autoencoder_kl, autoencoder_training

    if settings.weights is not None or settings.repository is not None:
        return autoencoder_kl.load(settings.weights, settings.repository or "", settings.revision)
    from aigid.features.preprocess import Preprocess, resize_and_crop

    preprocess = Preprocess(size=settings.size, resize="squash", interpolation="bilinear")
    tiles = _training_images(table, root, lambda image: resize_and_crop(image, preprocess), seed)
    return autoencoder_training.fit_autoencoder(tiles, settings, settings.config, settings.kl_weight, seed)


def subsample(table: pd.DataFrame, max_images: int | None) -> pd.DataFrame:
    """Return at most so many images of each split and generator; real ones are the same whatever fakes there are."""
    if max_images is None:
        return table
    groups = []
    for (split, _), rows in table.groupby(["split", "generator"]):
        order = seeding.numpy_generator("aligned sample", str(split)).permutation(len(rows))
        groups.append(rows.iloc[np.sort(order[:max_images])])
    return pd.concat(groups).sort_values("path", ignore_index=True)


def _training_images(
    table: pd.DataFrame, root: AnyPath, transform: Callable[[Pixels], Pixels], seed: int | None = None
) -> Pixels:
    """Return the readable real images of training, transformed, (N, H, W, 3); others are named by later stages.

    Of several sizes the middle is taken, as large as in the smallest, in multiples of 8 px. With a ``seed`` at most
    ``MAX_VAE_IMAGES`` of them. InputError where none can be read.
    """
    from aigid.images.decode import decode
    from aigid.images.formats import read_bytes

    paths, images = table["path"][(table["split"] == "train") & (table["label"] == 0)].to_numpy(), []
    if seed is not None and len(paths) > MAX_VAE_IMAGES:
        order = seeding.numpy_generator("vae photographs", seed).permutation(len(paths))
        paths = paths[np.sort(order[:MAX_VAE_IMAGES])]
    for path in paths:
        with suppress(ImageError):
            images.append(transform(decode(read_bytes(root / path))))
    if not images:
        raise InputError(f"{root}: no readable real image in the training split")
    shapes = {image.shape[:2] for image in images}
    multiple = 8 if len(shapes) > 1 else 1
    height, width = np.min(list(shapes), axis=0) // multiple * multiple
    if not (height and width):
        raise InputError(f"{root}: an image of less than 8 px trains no generator")
    return np.stack([_middle(image, height, width) for image in images])


def _middle(image: Pixels, height: int, width: int) -> Pixels:
    """Return the middle of at most so many pixels; all of a smaller image."""
    top, left = (max(side - target, 0) // 2 for side, target in zip(image.shape, (height, width), strict=False))
    return image[top : top + height, left : left + width]
