"""The critic of the adversarial generators: one judgement per patch (PatchGAN, Isola et al. 2017)."""

from torch import Tensor, nn

from aigid.data.demo_generators.layers import down


class Critic(nn.Module):
    """High where a patch looks like a photograph's; (B, 3, H, W) -> (B, 1, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            down(3, width), nn.LeakyReLU(0.2), down(width, width), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 3, padding=1)
        )

    def objective(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss (Lim and Ye 2017)."""
        return (1 - self(real)).relu().mean() + (1 + self(fake)).relu().mean()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
