"""The two kinds of aligned fakes (SEF, arXiv 2605.14486), before anything is loaded."""

from typing import TYPE_CHECKING, Literal

from aigid.core.errors import InputError
from aigid.core.params import Settings

if TYPE_CHECKING:
    from aigid.aligned.engine import FakeGenerator


DOMAINS = {
    "gan": "shrunken by 4 and enlarged again by a super-resolution GAN",
    "vae": "through a latent diffusion model's autoencoder and back",
}


class AlignSettings(Settings):
    """What decides the bytes of aligned fakes."""

    domain: str
    weights: str | None = None  # a local file or folder; without it, the hub (`vae` alone)
    model: str = "stabilityai/stable-diffusion-2-1"  # vae: the repository on the hub (DDA's)
    revision: str | None = None  # of the repository; None takes its newest
    scaling_factor: float = 0.18215  # vae: of its latents, that of Stable Diffusion 1 and 2; tells latent spaces apart
    seed: int = 0  # vae: of the posterior's samples
    # Both members of a pair as the photograph's file is (JPEG by its own tables, else PNG), or both as PNG.
    container: Literal["own", "png"] = "own"


def check_domain(domain: str) -> None:
    """InputError that lists the known domains."""
    if domain not in DOMAINS:
        raise InputError(f"unknown domain {domain!r}; known: {', '.join(DOMAINS)}")


def load_generator(settings: AlignSettings) -> "FakeGenerator":
    """What makes the fakes of a domain, on the CPU; InputError as ``check``, or in one line why it cannot be loaded."""
    check_domain(settings.domain)
    if settings.domain == "gan":
        from aigid.generators import srgan

        return srgan.load(settings.weights)
    from aigid.generators import autoencoder_kl

    return autoencoder_kl.load_maker(
        settings.weights, settings.model, settings.revision, settings.scaling_factor, settings.seed
    )
