"""Train the autoencoder of a latent diffusion model on tiles of real images: a small one, or one of a configuration."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional

from aigid.generators import GeneratorTrainingSettings, StepSettings
from aigid.generators.autoencoder_kl import save
from aigid.generators.training import Recipe, Tiles, train

LATENTS, KL_WEIGHT = 8, 1e-4  # of the small autoencoder
LEVEL, NOISE, LOG_VARIANCE = 10.0, 0.02, -6.0  # at the start of training
PLAIN = Recipe(hflip=False, betas=(0.9, 0.999), warmup_fraction=0.3, num_threads=None)


class _Trainable(nn.Module):
    """An AutoencoderKL and its loss: L1 and a little KL, ``per_latent`` or per pixel value."""

    adversarial = 0.0

    def __init__(self, network: AutoencoderKL, kl_weight: float, per_latent: bool) -> None:
        super().__init__()
        self.network, self.kl_weight, self.per_latent = network, kl_weight, per_latent

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.network.encode(real).latent_dist
        fake = self.network.decode(posterior.sample()).sample
        num = (posterior.mean if self.per_latent else real)[0].numel()
        return fake, functional.l1_loss(fake, real) + self.kl_weight * posterior.kl().mean() / num


def _small(width: int) -> _Trainable:
    """Return an autoencoder that halves twice; one group per normalization, so that brightness is preserved."""
    channels = max(width // 2, LATENTS)
    network = AutoencoderKL(
        block_out_channels=(channels, channels, max(width, LATENTS)),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENTS,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    _start_near_identity(network)
    return _Trainable(network, KL_WEIGHT, per_latent=True)


@torch.no_grad()
def _start_near_identity(network: AutoencoderKL) -> None:
    """Initialize to downscale and upscale the image, which takes hundreds of steps to learn.

    Residual branches are silent; all other convolutions pass channels on, of which two hold ``+-LEVEL`` throughout: a
    normalization then divides by about the same for every image, and what follows it is all but linear.
    """
    for block in network.modules():
        if isinstance(block, ResnetBlock2D):
            for parameter in block.conv2.parameters():
                parameter.zero_()
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


def _identity_conv(layer: Any, pooled: bool) -> None:
    """Map channel to channel, with a little noise that makes the others differ."""
    layer.weight.normal_(std=NOISE)
    layer.weight[:, 3:5] = 0
    layer.bias.zero_()
    middle = layer.kernel_size[0] // 2
    window, value = (slice(2), 0.25) if pooled else (slice(middle, middle + 1), 1)
    for channel in range(min(layer.weight.shape[:2])):
        layer.weight[channel, channel, window, window] += value


def train_vae(tiles: Tiles, settings: GeneratorTrainingSettings, out: Path) -> None:
    """Train a generator on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a folder of diffusers'."""
    save(train(lambda: _small(settings.width), tiles, settings, "fit vae", settings.seed).network, out)


def fit_autoencoder(
    tiles: Tiles, settings: StepSettings, config: dict[str, Any], kl_weight: float, seed: int
) -> AutoencoderKL:
    """Train the autoencoder of a ``config`` of diffusers' on tiles (N, S, S, 3) uint8."""
    build = partial(_Trainable, kl_weight=kl_weight, per_latent=False)
    return train(lambda: build(AutoencoderKL(**config)), tiles, settings, "vae", seed, recipe=PLAIN).network.eval()
