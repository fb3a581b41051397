"""Small diffusion model (Ho et al. 2020), used image to image: add some noise, then denoise (Meng et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import Residual


class Diffusion(nn.Module):
    """Predicts the noise of level sigma in (0, ``start``]; sampling walks ``num_levels`` steps down from ``start``."""

    adversarial = 0.0

    def __init__(self, width: int, start: float = 0.06, num_levels: int = 3) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(13, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.register_buffer("levels", start * torch.linspace(1, 0, num_levels + 1))

    def noise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The predicted standard-normal noise in ``x`` (B, 3, H, W) at levels ``sigma`` (B, 1, 1, 1)."""
        folded = functional.pixel_unshuffle(x, 2)
        level = sigma.expand(len(x), 1, *folded.shape[2:])
        return functional.pixel_shuffle(self.leave(self.body(self.enter(torch.cat([folded, level], dim=1)))), 2)

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.levels[0] * torch.rand(len(real), 1, 1, 1)
        noise = torch.randn_like(real)
        x = real + sigma * noise
        predicted = self.noise(x, sigma)
        return x - sigma * predicted, functional.mse_loss(predicted, noise)

    def forward(self, real: Tensor) -> Tensor:
        """Ancestral sampling: from level s to t, jump to t**2/s and add noise of variance t**2 - (t**2/s)**2."""
        x = real + self.levels[0] * torch.randn_like(real)
        for s, t in zip(self.levels[:-1], self.levels[1:], strict=True):
            direction = self.noise(x, s.expand(len(x), 1, 1, 1))
            x = x + (t**2 / s - s) * direction + t * (1 - (t / s) ** 2).sqrt() * torch.randn_like(x)
        return x
