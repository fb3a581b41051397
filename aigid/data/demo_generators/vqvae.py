"""VQ-VAE (van den Oord et al. 2017) with finite scalar quantisation as its codebook (Mentzer et al. 2024)."""

from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import decoder, encoder


class VqVae(nn.Module):
    """Rounds each latent value to one of ``levels`` (odd) and decodes by transposed convolutions."""

    adversarial = 0.0

    def __init__(self, width: int, latent: int = 4, depth: int = 1, levels: int = 9) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(width, latent, depth), decoder(width, latent, depth, "transposed")
        self.half = levels // 2

    def quantise(self, z: Tensor) -> Tensor:
        """Codes in [-1, 1]; the gradient passes the rounding unchanged (straight-through)."""
        bounded = self.half * z.tanh()
        return (bounded + (bounded.round() - bounded).detach()) / self.half

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)

    def forward(self, real: Tensor) -> Tensor:
        return self.decoder(self.quantise(self.encoder(real)))
