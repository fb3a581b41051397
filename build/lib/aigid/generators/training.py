"""Train a small generator on tiles of real images, and reconstruct images with it."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aigid.core import seeding
from aigid.core.cache import entry_path
from aigid.core.files import atomic_write, sha256
from aigid.generators import GeneratorTrainingSettings, StepSettings
from aigid.generators.small import Autoencoder, Diffusion, Discriminator, SuperResolution, Vae, VqVae

CACHE_KIND = "demo_generators"
Tiles = NDArray[np.uint8]
G = TypeVar("G", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """What is fixed in a training; the defaults are those of the small generators."""

    hflip: bool = True
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_fraction: float = 0.1
    # Sums of floats depend on it, and layers this small gain nothing from a second thread; None changes nothing.
    num_threads: int | None = 1


def build(name: str, width: int) -> nn.Module:
    """Return an untrained generator that maps (B, 3, H, W) in [-1, 1] to its fakes, for ``train``."""
    if name == "bilinear":
        return Autoencoder(width, "bilinear")
    if name == "dcgan":
        return Autoencoder(width, "transposed", adversarial=0.003)
    classes: dict[str, Callable[[int], nn.Module]]
    classes = {"diffusion": Diffusion, "srgan": SuperResolution, "vae": Vae, "vqvae": VqVae}
    return classes[name](width)


def fit(name: str, tiles: Tiles, settings: GeneratorTrainingSettings) -> nn.Module:
    """Return the generator ``name`` trained on ``tiles`` (N, S, S, 3) uint8, from the cache where it is there.

    Tiles, settings, the code of this package and PyTorch's version decide the weights; a damaged file counts as
    missing.
    """
    metadata = {
        "generator": name,
        "settings": settings.model_dump(include=set(GeneratorTrainingSettings.model_fields)),
        "tiles": hashlib.sha256(tiles.tobytes()).hexdigest(),
        "code": [sha256(file) for file in sorted(Path(__file__).parent.glob("*.py"))],
        "torch": torch.__version__,
    }
    path = entry_path(CACHE_KIND, metadata) / "weights.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError):
        key = ("demo fit", name, settings.seed)
        generator = train(lambda: build(name, settings.width), tiles, settings, *key)
        with atomic_write(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in generator.state_dict().items()}, part)
        return generator
    with torch.random.fork_rng(devices=[]):
        generator = build(name, settings.width).to(memory_format=torch.channels_last)
    generator.load_state_dict(weights)
    return generator


def train(
    build: Callable[[], G], tiles: Tiles, settings: StepSettings, *key: str | int, recipe: Recipe = Recipe()
) -> G:
    """Train a module on ``tiles`` (N, S, S, 3) uint8; ``key`` seeds all random numbers.

    It has ``loss(real) -> (fake, loss)``, and ``adversarial``, the weight of a discriminator in that loss. With
    ``GeneratorTrainingSettings`` a discriminator is built even where it is not used: it takes random numbers.
    """
    with deterministic(*key, num_threads=recipe.num_threads):
        generator: Any = build().to(memory_format=torch.channels_last)
        step = _optimizer_and_schedule(generator, settings, recipe)
        if isinstance(settings, GeneratorTrainingSettings):
            discriminator = Discriminator(settings.width).to(memory_format=torch.channels_last)
            step_discriminator = _optimizer_and_schedule(discriminator, settings, recipe)
        pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2)
        for _ in range(settings.steps):
            real = _sample_batch(pixels, settings.batch_size, recipe.hflip)
            fake, loss = generator.loss(real)
            if generator.adversarial:
                loss = loss - generator.adversarial * discriminator(fake).mean()
            step(loss)
            if generator.adversarial:
                step_discriminator(discriminator.loss(real, fake.detach()))
        trained: G = generator
    return trained


def reconstruct(generator: nn.Module, image: NDArray[np.uint8], *key: str | int) -> NDArray[np.uint8]:
    """Return a generator's version of an image (H, W, 3) uint8; H and W lose what exceeds a multiple of four."""
    height, width = (side // 4 * 4 for side in image.shape[:2])
    with torch.no_grad(), deterministic("demo remake", type(generator).__name__, *key, num_threads=1):
        fake = generator(_normalize(torch.tensor(image[None, :height, :width]).permute(0, 3, 1, 2)))[0]
    pixels: NDArray[np.uint8] = ((fake.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()
    return pixels


@contextmanager
def deterministic(*key: str | int, num_threads: int | None) -> Iterator[None]:
    """Let random numbers depend on ``key`` alone, and float sums not on the number of cores."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive_seed(*key))
        torch.set_num_threads(num_threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _optimizer_and_schedule(network: nn.Module, settings: StepSettings, recipe: Recipe) -> Callable[[Tensor], None]:
    """Return a function that takes one step down a loss: Adam, its rate warmed up and annealed to nothing."""
    adam = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=recipe.betas)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, settings.learning_rate, total_steps=settings.steps + 1, pct_start=recipe.warmup_fraction
    )

    def step(loss: Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()

    return step


def _normalize(pixels: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _sample_batch(pixels: Tensor, size: int, hflip: bool) -> Tensor:
    """Sample tiles, flipped together or not, channels last (several times faster)."""
    batch = _normalize(pixels[torch.randint(len(pixels), (size,))])
    if hflip and torch.rand(()) < 0.5:
        batch = batch.flip(-1)
    return batch.contiguous(memory_format=torch.channels_last)
