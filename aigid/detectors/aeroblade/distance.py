"""LPIPS at its second layer: how far apart two images look.

A latent diffusion model's own images come back almost unchanged through its autoencoder.
"""

from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.detectors.aeroblade.settings import AerobladeSettings

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS's, of pixels in [-1, 1]
WIDTH = 64  # of VGG-16's first layer


class Perceptual(nn.Module):
    """LPIPS at one layer (Zhang et al., CVPR 2018): weighted squared differences of features of length 1."""

    def __init__(self, features: nn.Module, weights: torch.Tensor) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("weights", weights.view(1, -1, 1, 1))
        for name, part in {"shift": SHIFT, "scale": SCALE}.items():
            self.register_buffer(name, torch.tensor(part).view(1, 3, 1, 1), persistent=False)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Distances (B,) of images (B, 3, S, S) in [-1, 1]."""
        a, b = (self._unit(self.features((part - self.shift) / self.scale)) for part in (a, b))
        return (self.weights * (a - b).square()).sum(dim=1).mean(dim=(1, 2))

    @staticmethod
    def _unit(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def layers(width: int) -> nn.Sequential:
    """VGG-16 up to relu2_2, if it is 64 wide; the names of its tensors are torchvision's."""
    found: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise((3, width, width, 2 * width, 2 * width))):
        found += [nn.MaxPool2d(2)] if number == 2 else []
        found += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*found)


def published(vgg: Path, linear: Path) -> Perceptual:
    """LPIPS's second layer from local files: torchvision's ``vgg16`` and LPIPS's ``vgg.pth``."""
    try:
        net, tensors = layers(WIDTH), torch.load(vgg, map_location="cpu", weights_only=True)
        net.load_state_dict({name: tensors[f"features.{name}"] for name in net.state_dict()})
        weights = torch.load(linear, map_location="cpu", weights_only=True)["lin1.model.1.weight"]
    except (OSError, RuntimeError, KeyError, UnpicklingError) as failure:
        raise InputError(
            f"{vgg}, {linear}: not VGG-16 and LPIPS's linear layers: {str(failure).splitlines()[0]}"
        ) from None
    return Perceptual(net, weights)


def drawn(width: int, seed: int) -> Perceptual:
    """The same layers, ``width`` wide and of random weights, all channels counting alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.seed_of("aeroblade", seed))
        return Perceptual(layers(width), torch.full((2 * width,), 1 / (2 * width)))


def restored(tensors: dict[str, torch.Tensor]) -> Perceptual:
    """The distance whose ``state_dict`` this is."""
    found = Perceptual(layers(len(tensors["features.0.weight"])), tensors["weights"])
    found.load_state_dict(tensors)
    return found


def perceptual(settings: AerobladeSettings, seed: int) -> Perceptual:
    """The distance that the settings ask for."""
    if settings.vgg is None or settings.linear is None:
        return drawn(settings.width, seed)
    return published(Path(settings.vgg), Path(settings.linear))
