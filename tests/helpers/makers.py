"""Small makers of fakes of random weights, in the formats of published ones."""

import numpy as np
import torch
from diffusers import AutoencoderKL

from aigid.data.demo import load_source_images


def autoencoder(**changes) -> AutoencoderKL:
    """A random one that halves three times, as Stable Diffusion's does."""
    shape = {
        "block_out_channels": (4, 4, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
    }
    torch.manual_seed(0)
    return AutoencoderKL(**shape | changes)


def pictures(num: int, height: int, width: int) -> list[np.ndarray]:
    """Cuts of the installed photographs, (H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    whole = [photograph.image for photograph in load_source_images()]
    cuts = []
    for n in range(num):
        image = whole[n % len(whole)]
        top, left = (rng.integers(0, side - size) for side, size in zip(image.shape, (height, width), strict=False))
        cuts.append(image[top : top + height, left : left + width])
    return cuts
