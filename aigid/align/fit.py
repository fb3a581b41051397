"""Train the small makers of aligned fakes on photographs, and save them in the formats of published ones."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from aigid.align.gan import SCALE, shrink
from aigid.align.srgan import Msrgan
from aigid.data.demo import TrainingSettings
from aigid.data.demo_generators.training import train
from aigid.files import atomic

LATENTS = 8
KL_WEIGHT = 1e-4
NUM_BLOCKS = 2


class _Autoencoder(nn.Module):
    """An AutoencoderKL that halves twice; one group per normalisation, so that an image keeps its brightness."""

    adversarial = 0.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = AutoencoderKL(
            block_out_channels=(max(width // 4, 1), max(width // 2, 1), width),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=LATENTS,
            norm_num_groups=1,
            mid_block_add_attention=False,
        )

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.network.encode(real).latent_dist
        fake = self.network.decode(posterior.sample()).sample
        return fake, functional.l1_loss(fake, real) + KL_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()


class _SuperResolution(nn.Module):
    """A small MSRGAN between [-1, 1] and itself."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = Msrgan(width, NUM_BLOCKS, SCALE)

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = 2 * self.network(shrink((real + 1) / 2)) - 1
        return fake, functional.l1_loss(fake, real)


def fit_vae(tiles: np.ndarray, settings: TrainingSettings, out: Path) -> None:
    """Train an autoencoder on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a folder of diffusers'."""
    trained = train(lambda: _Autoencoder(settings.width), tiles, settings, "fit vae", settings.seed)
    trained.network.to(memory_format=torch.contiguous_format).save_pretrained(out)


def fit_sr(tiles: np.ndarray, settings: TrainingSettings, out: Path) -> None:
    """Train an SRGAN on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a ``.safetensors`` file."""
    trained = train(lambda: _SuperResolution(settings.width), tiles, settings, "fit sr", settings.seed)
    with atomic(out) as part:
        save_file({key: value.contiguous() for key, value in trained.network.state_dict().items()}, part)
