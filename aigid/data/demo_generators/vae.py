"""Convolutional VAE with a nearest-neighbour decoder (Kingma and Welling 2014; the shape of Stable Diffusion's)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import Decoder, Encoder


class Vae(nn.Module):
    """Encodes to a diagonal normal at a quarter of the resolution and decodes a sample of it."""

    adversarial = 0.0

    def __init__(self, width: int, latent: int = 12, depth: int = 2, kl_weight: float = 1e-4) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, 2 * latent, depth), Decoder(width, latent, depth, "nearest")
        self.kl_weight = kl_weight

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(real).chunk(2, dim=1)
        log_variance = log_variance - 6
        fake = self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean))
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return fake, functional.l1_loss(fake, real) + self.kl_weight * kl

    def forward(self, real: Tensor) -> Tensor:
        return self.objective(real)[0]
