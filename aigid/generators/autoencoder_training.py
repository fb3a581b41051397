"""Train small autoencoders on photographs: a maker of aligned fakes, and the one whose errors are a channel."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from aigid.generators import autoencoder_kl
from aigid.generators.training import GeneratorTrainingSettings, Recipe, StepSettings, train

LATENTS = 8
KL_WEIGHT = 1e-4
LEVEL, NOISE, LOG_VARIANCE = 10.0, 0.02, -6.0  # at the start of a maker's training
PLAIN = Recipe(critic=False, hflip=False, betas=(0.9, 0.999), warmup_fraction=0.3, num_threads=None)


class _Autoencoder(nn.Module):
    """An AutoencoderKL and its loss: L1 and a little KL, ``per_latent`` or per pixel value."""

    adversarial = 0.0

    def __init__(self, network: AutoencoderKL, kl_weight: float, per_latent: bool) -> None:
        super().__init__()
        self.network, self.kl_weight, self.per_latent = network, kl_weight, per_latent

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.network.encode(real).latent_dist
        fake = self.network.decode(posterior.sample()).sample
        num = (posterior.mean if self.per_latent else real)[0].numel()
        return fake, functional.l1_loss(fake, real) + self.kl_weight * posterior.kl().mean() / num


def _maker(width: int) -> _Autoencoder:
    """Return an autoencoder that halves twice; one group per normalisation, so that an image keeps its brightness."""
    network = AutoencoderKL(
        block_out_channels=(max(width // 2, LATENTS), max(width // 2, LATENTS), max(width, LATENTS)),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENTS,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    _start_near_identity(network)
    return _Autoencoder(network, KL_WEIGHT, per_latent=True)


@torch.no_grad()
def _start_near_identity(network: AutoencoderKL) -> None:
    """Let training start from the image shrunken and enlarged again, which takes hundreds of steps to learn.

    Residual branches are silent; all other convolutions hand channels on, of which two hold ``+-LEVEL`` throughout: a
    normalisation then divides by about the same for every image, and what follows it is all but linear.
    """
    for block in network.modules():
        if isinstance(block, ResnetBlock2D):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
    for name, layer in network.named_modules():
        if name.endswith(("conv_in", "conv_out", "conv_shortcut", "samplers.0.conv", "quant_conv")):
            _identity_conv(layer, pooled=name.endswith("downsamplers.0.conv"))
    for part in (network.encoder, network.decoder):
        deviation = LEVEL * (2 / part.conv_norm_out.num_channels) ** 0.5
        part.conv_in.weight[3:5] = 0
        part.conv_in.bias[3], part.conv_in.bias[4] = LEVEL, -LEVEL
        part.conv_out.weight *= 2 * deviation  # silu(x) is about x / 2
    network.quant_conv.weight[LATENTS:] = 0
    network.quant_conv.bias[LATENTS:] = LOG_VARIANCE


def _identity_conv(layer: nn.Conv2d, pooled: bool) -> None:
    """Channel to channel, and a little noise that tells the others apart."""
    layer.weight.normal_(std=NOISE)
    layer.weight[:, 3:5] = 0
    layer.bias.zero_()
    middle = layer.kernel_size[0] // 2
    for channel in range(min(layer.weight.shape[:2])):
        if pooled:
            layer.weight[channel, channel, :2, :2] += 0.25
        else:
            layer.weight[channel, channel, middle, middle] += 1


def train_vae(tiles: np.ndarray, settings: GeneratorTrainingSettings, out: Path) -> None:
    """Train a maker on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a folder of diffusers'."""
    trained = train(lambda: _maker(settings.width), tiles, settings, "fit vae", settings.seed)
    autoencoder_kl.save(trained.network, out)


def fit_autoencoder(
    tiles: np.ndarray, settings: StepSettings, config: dict[str, Any], kl_weight: float, seed: int
) -> AutoencoderKL:
    """Train the autoencoder of a ``config`` of diffusers' on tiles (N, S, S, 3) uint8."""

    def make() -> _Autoencoder:
        return _Autoencoder(AutoencoderKL(**config), kl_weight, per_latent=False)

    return train(make, tiles, settings, "vae", seed, recipe=PLAIN).network.eval()
