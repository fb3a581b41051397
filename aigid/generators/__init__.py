"""Generators of fakes: small ones, latent autoencoders, super-resolution GANs; here, without torch, their settings."""

from pydantic import Field

from aigid.core.params import Settings


class StepSettings(Settings):
    """Number and size of training steps."""

    steps: int = Field(300, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(0.003, gt=0)


class GeneratorTrainingSettings(StepSettings):
    """Training of a small generator."""

    seed: int = 0
    width: int = Field(32, ge=1)  # channels in a generator
