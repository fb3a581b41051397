"""Train a generator on tiles of photographs, and let it remake a whole photograph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from aigid.base import seeding
from aigid.data.demo import DemoSettings, Photograph, TrainingSettings
from aigid.data.demo_generators.autoencoder import Autoencoder
from aigid.data.demo_generators.critic import Critic
from aigid.data.demo_generators.diffusion import Diffusion
from aigid.data.demo_generators.kept import trained
from aigid.data.demo_generators.super_resolution import SuperResolution
from aigid.data.demo_generators.vae import Vae
from aigid.data.demo_generators.vqvae import VqVae

# Width -> a module that maps (B, 3, H, W) in [-1, 1] to its fakes, with `objective(real) -> (fake, loss)` and the
# weight `adversarial` of a critic's opinion in that loss.
GENERATORS: dict[str, Callable[[int], nn.Module]] = {
    "bilinear": lambda width: Autoencoder(width, "bilinear"),
    "dcgan": lambda width: Autoencoder(width, "transposed", adversarial=0.003),
    "diffusion": Diffusion,
    "srgan": SuperResolution,
    "vae": Vae,
    "vqvae": VqVae,
}
THREADS = 1  # fixed, for sums of floats depend on it; layers this small gain nothing from a second thread


def fit(name: str, tiles: np.ndarray, settings: DemoSettings) -> nn.Module:
    """The generator ``name``, trained on ``tiles`` (N, S, S, 3) uint8, or as it was trained on them before."""
    facts = settings.model_dump(include={"seed", "width", "steps", "batch_size", "learning_rate"})

    def make() -> nn.Module:
        return GENERATORS[name](settings.width)

    return trained(make, lambda: train(make, tiles, settings, "demo fit", name, settings.seed), tiles, name, facts)


def train(make: Callable[[], nn.Module], tiles: np.ndarray, settings: TrainingSettings, *key: str | int) -> nn.Module:
    """The generator that ``make`` gives, as one of ``GENERATORS``, trained on ``tiles``; chance is that of the key."""
    with _repeatable(*key):
        generator, critic = (net.to(memory_format=torch.channels_last) for net in (make(), Critic(settings.width)))
        improve = _descent(generator, settings)
        improve_critic = _descent(critic, settings)
        pixels = _tensor(tiles)
        for _ in range(settings.steps):
            real = _batch(pixels, settings.batch_size)
            fake, loss = generator.objective(real)
            if generator.adversarial:
                loss = loss - generator.adversarial * critic(fake).mean()
            improve(loss)
            if generator.adversarial:
                improve_critic(critic.objective(real, fake.detach()))
    return generator


@torch.no_grad()
def remake(generator: nn.Module, photograph: Photograph, settings: DemoSettings) -> np.ndarray:
    """The generator's version of a photograph, (H, W, 3) uint8; H and W lose what exceeds a multiple of four."""
    height, width = (side // 4 * 4 for side in photograph.image.shape[:2])
    with _repeatable("demo remake", type(generator).__name__, settings.seed, photograph.name):
        fake = generator(_tensor(photograph.image[None, :height, :width]))[0]
    return ((fake.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous().numpy()


@contextmanager
def _repeatable(*key: str | int) -> Iterator[None]:
    """Random numbers that depend on the key alone, sums that do not depend on the machine's cores."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.seed_of(*key))
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _descent(net: nn.Module, settings: TrainingSettings) -> Callable[[Tensor], None]:
    """A function that takes one step down a loss: Adam, its rate warmed up and annealed to nothing."""
    adam = torch.optim.Adam(net.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    rate = torch.optim.lr_scheduler.OneCycleLR(
        adam, settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.1
    )

    def descend(loss: Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()

    return descend


def _tensor(images: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1], laid out channels last (several times faster)."""
    return (torch.tensor(images).float() / 127.5 - 1).permute(0, 3, 1, 2)


def _batch(pixels: Tensor, size: int) -> Tensor:
    """Random tiles, mirrored together or not."""
    batch = pixels[torch.randint(len(pixels), (size,))]
    return (batch.flip(-1) if torch.rand(()) < 0.5 else batch).contiguous(memory_format=torch.channels_last)
