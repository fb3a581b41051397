"""Train a small super-resolution GAN on photographs, and save it in the format of published ones."""

from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.files import atomic_write
from aigid.generators.srgan import SCALE, Msrgan, downsample
from aigid.generators.training import GeneratorTrainingSettings, train

NUM_BLOCKS = 2


class _SuperResolution(nn.Module):
    """A small MSRGAN between [-1, 1] and itself."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = Msrgan(width, NUM_BLOCKS, SCALE)

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = 2 * self.network(downsample((real + 1) / 2)) - 1
        return fake, functional.l1_loss(fake, real)


def train_super_resolution(tiles: np.ndarray, settings: GeneratorTrainingSettings, out: Path) -> None:
    """Train an SRGAN on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a ``.safetensors`` file."""
    trained = train(lambda: _SuperResolution(settings.width), tiles, settings, "fit sr", settings.seed)
    with atomic_write(out) as part:
        save_file({key: value.contiguous() for key, value in trained.network.state_dict().items()}, part)
