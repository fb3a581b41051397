"""AEROBLADE (Ricker et al., CVPR 2024), NYCU's training-free baseline: how well autoencoders give an image back.

A latent diffusion model's own images come back almost unchanged. The score is the negated LPIPS distance, second layer
of VGG-16, between image and reconstruction, the largest over several autoencoders; Platt's sigmoid on validation makes
it a probability.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import nn

from aigid.detectors.cnn.vae import remake
from aigid.detectors.svm.fitting import platt
from aigid.errors import InputError

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's, of pixels in [-1, 1]
LAYER_2 = 9  # VGG-16 up to relu2_2


class Perceptual(nn.Module):
    """LPIPS at one layer (Zhang et al., CVPR 2018): weighted squared differences of features of length 1."""

    def __init__(self, features: nn.Module, weights: torch.Tensor) -> None:
        super().__init__()
        self.features, self.weights = features.eval().requires_grad_(False), weights.view(1, -1, 1, 1)
        self.shift, self.scale = (torch.tensor(part).view(1, 3, 1, 1) for part in (SHIFT, SCALE))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distances (B,) of images (B, 3, S, S) in [-1, 1]."""
        a, b = (self._unit(self.features((part - self.shift) / self.scale)) for part in (a, b))
        return (self.weights * (a - b).square()).sum(dim=1).mean(dim=(1, 2))

    @staticmethod
    def _unit(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def published(vgg: Path, linear: Path) -> Perceptual:
    """LPIPS's second layer from local files: torchvision's ``vgg16`` and LPIPS's ``vgg.pth``."""
    from torchvision.models import vgg16

    try:
        net = vgg16()
        net.load_state_dict(torch.load(vgg, map_location="cpu", weights_only=True))
        weights = torch.load(linear, map_location="cpu", weights_only=True)["lin1.model.1.weight"]
    except (OSError, RuntimeError, KeyError) as failure:
        raise InputError(
            f"{vgg}, {linear}: not VGG-16 and LPIPS's linear layers: {str(failure).splitlines()[0]}"
        ) from None
    return Perceptual(net.features[:LAYER_2], weights)


@torch.inference_mode()
def closeness(images: np.ndarray, vaes: Sequence[Any], distance: Perceptual, batch: int = 4) -> np.ndarray:
    """The largest negated distance over the autoencoders (N,) of images (N, S, S, 3) uint8."""
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).float() / 127.5 - 1
        copies = (torch.from_numpy(remake(vae, part)).permute(0, 3, 1, 2) for vae in vaes)
        found.append(torch.stack([-distance(pixels, copy) for copy in copies]).amax(dim=0).numpy())
    return np.concatenate(found)


def calibrate(val: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset of P(generated) on validation's closeness (N,) and labels (N,)."""
    slopes, offsets = platt(val[:, None], 1 - y, 2)
    return float(slopes[0]), float(offsets[0])


def probability(found: np.ndarray, slope: float, offset: float) -> np.ndarray:
    """P(generated) (N,) of closeness (N,)."""
    return expit(slope * found + offset)
