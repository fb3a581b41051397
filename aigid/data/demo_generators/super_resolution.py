"""SRGAN-like up-sampler (Ledig et al. 2017): halves a photograph and restores it by pixel shuffle."""

from torch import Tensor, nn
from torch.nn import functional

from aigid.data.demo_generators.layers import Residual, up


class SuperResolution(nn.Module):
    """A residual on the bicubic enlargement of the photograph at half its resolution."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), Residual(width), Residual(width), up(width, 3, "shuffle")
        )

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)

    def forward(self, real: Tensor) -> Tensor:
        small = functional.interpolate(real, scale_factor=0.5, mode="bicubic", antialias=True)
        return functional.interpolate(small, scale_factor=2, mode="bicubic") + self.body(small)
