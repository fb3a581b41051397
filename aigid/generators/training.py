"""Train a small generator on tiles of photographs, and let it reconstruct a photograph; torch is imported late."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from aigid.core import seeding
from aigid.core.files import atomic_write, cache_folder, sha256
from aigid.core.params import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


HERE = Path(__file__).parent


class StepSettings(Settings):
    """How many steps of which size."""

    steps: int = Field(300, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(0.003, gt=0)


class GeneratorTrainingSettings(StepSettings):
    """How a small generator is trained."""

    seed: int = 0
    width: int = Field(32, ge=1)  # channels in a generator


@dataclass(frozen=True)
class Recipe:
    """What is fixed in a training; the defaults are those of the small generators."""

    critic: bool = True  # of the settings' width; made even for a generator that heeds none: it takes random numbers
    hflip: bool = True
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_fraction: float = 0.1
    # Sums of floats depend on it, and layers this small gain nothing from a second thread; None leaves it as it is.
    num_threads: int | None = 1


def build(name: str, width: int) -> "nn.Module":
    """Return an untrained generator: it maps (B, 3, H, W) in [-1, 1] to its fakes.

    It has ``objective(real) -> (fake, loss)`` and the weight ``adversarial`` of a critic's opinion in that loss.
    """
    from aigid.generators.small import Autoencoder, Diffusion, SuperResolution, Vae, VqVae

    if name == "bilinear":
        return Autoencoder(width, "bilinear")
    if name == "dcgan":
        return Autoencoder(width, "transposed", adversarial=0.003)
    return {"diffusion": Diffusion, "srgan": SuperResolution, "vae": Vae, "vqvae": VqVae}[name](width)


def fit(name: str, tiles: np.ndarray, settings: GeneratorTrainingSettings) -> "nn.Module":
    """Return the generator ``name``, trained on ``tiles`` (N, S, S, 3) uint8, from the cache where it is there.

    The tiles, the settings, the code of this package and PyTorch's version decide the weights; a damaged file counts
    as missing.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    path = cache_folder() / "demo_generators" / f"{_cache_key(name, tiles, settings)}.safetensors"
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
    make: Callable[[], "nn.Module"],
    tiles: np.ndarray,
    settings: StepSettings,
    *key: str | int,
    recipe: Recipe = Recipe(),
) -> "nn.Module":
    """Train a module as of ``build`` on ``tiles`` (N, S, S, 3) uint8; ``key`` seeds all chance."""
    import torch

    from aigid.generators.small import Discriminator

    with deterministic(*key, num_threads=recipe.num_threads):
        generator = make().to(memory_format=torch.channels_last)
        critic = Discriminator(settings.width).to(memory_format=torch.channels_last) if recipe.critic else None
        improve = _optimizer_step(generator, settings, recipe)
        improve_critic = _optimizer_step(critic, settings, recipe) if critic is not None else None
        pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2)
        for _ in range(settings.steps):
            real = _sample_batch(pixels, settings.batch_size, recipe.hflip)
            fake, loss = generator.objective(real)
            if generator.adversarial:
                loss = loss - generator.adversarial * critic(fake).mean()
            improve(loss)
            if generator.adversarial:
                improve_critic(critic.objective(real, fake.detach()))
    return generator


def reconstruct(generator: "nn.Module", image: np.ndarray, *key: str | int) -> np.ndarray:
    """Return a generator's version of an image (H, W, 3) uint8; H and W lose what exceeds a multiple of four."""
    import torch

    height, width = (side // 4 * 4 for side in image.shape[:2])
    with torch.no_grad(), deterministic("demo remake", type(generator).__name__, *key, num_threads=1):
        fake = generator(_normalize(torch.tensor(image[None, :height, :width]).permute(0, 3, 1, 2)))[0]
    return ((fake.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()


def _cache_key(name: str, tiles: np.ndarray, settings: GeneratorTrainingSettings) -> str:
    import torch

    facts = {field: getattr(settings, field) for field in ("seed", "width", "steps", "batch_size", "learning_rate")}
    code = [sha256(file) for file in sorted(HERE.glob("*.py"))]
    identity = [hashlib.sha256(tiles.tobytes()).hexdigest(), (name, facts), code, torch.__version__]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


@contextmanager
def deterministic(*key: str | int, num_threads: int | None) -> Iterator[None]:
    """Random numbers that depend on the key alone, sums that do not depend on the machine's cores."""
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.derive_seed(*key))
        torch.set_num_threads(num_threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _optimizer_step(net: "nn.Module", settings: StepSettings, recipe: Recipe) -> Callable[["Tensor"], None]:
    """Return a function that takes one step down a loss: Adam, its rate warmed up and annealed to nothing."""
    import torch

    adam = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, betas=recipe.betas)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        adam, settings.learning_rate, total_steps=settings.steps + 1, pct_start=recipe.warmup_fraction
    )

    def step(loss: "Tensor") -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()

    return step


def _normalize(pixels: "Tensor") -> "Tensor":
    """Map uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _sample_batch(pixels: "Tensor", size: int, hflip: bool) -> "Tensor":
    """Draw tiles, flipped together or not, laid out channels last (several times faster)."""
    import torch

    batch = _normalize(pixels[torch.randint(len(pixels), (size,))])
    if hflip and torch.rand(()) < 0.5:
        batch = batch.flip(-1)
    return batch.contiguous(memory_format=torch.channels_last)
