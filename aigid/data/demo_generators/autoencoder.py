"""Autoencoders that differ in how they up-sample: bilinear, transposed GAN, pixel-shuffle GAN."""

from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import Decoder, Encoder


class Autoencoder(nn.Module):
    """Encodes to a quarter of the resolution; ``adversarial`` > 0 makes it a GAN, trained against a patch critic."""

    def __init__(self, width: int, mode: str, latent: int = 16, depth: int = 2, adversarial: float = 0.0) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, latent, depth), Decoder(width, latent, depth, mode)
        self.adversarial = adversarial

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)

    def forward(self, real: Tensor) -> Tensor:
        return self.decoder(self.encoder(real))
