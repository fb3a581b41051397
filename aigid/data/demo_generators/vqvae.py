"""VQ-VAE (van den Oord et al. 2017) with finite scalar quantisation as its codebook (Mentzer et al. 2024)."""

from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import Decoder, Encoder


class VqVae(nn.Module):
    """Rounds each latent value to one of ``levels`` (odd) and decodes by transposed convolutions."""

    adversarial = 0.0

    def __init__(self, width: int, latent: int = 12, depth: int = 2, levels: int = 17) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, latent, depth), Decoder(width, latent, depth, "transposed")
        self.half = levels // 2

    def quantise(self, z: Tensor) -> Tensor:
        """Codes in [-1, 1]; the gradient passes the rounding unchanged (straight-through)."""
        bounded = self.half * z.clamp(-1, 1)
        return (bounded + (bounded.round() - bounded).detach()) / self.half

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)

    def forward(self, real: Tensor) -> Tensor:
        return self.decoder(self.quantise(self.encoder(real)))
