"""The few layers that the small generators share."""

from torch import Tensor, nn


class Residual(nn.Module):
    """``x + f(x)`` with two 3x3 convolutions; (B, C, H, W) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def down(channels_in: int, channels_out: int) -> nn.Module:
    """Half the resolution by a strided convolution."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def up(channels_in: int, channels_out: int, mode: str) -> nn.Module:
    """Twice the resolution: ``nearest`` or ``bilinear`` with a convolution, ``transposed`` or ``shuffle``."""
    if mode == "transposed":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    if mode == "shuffle":
        return nn.Sequential(nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(channels_in, channels_out, 3, padding=1))


def encoder(width: int, latent: int) -> nn.Module:
    """(B, 3, H, W) -> (B, latent, H/4, W/4)."""
    return nn.Sequential(
        down(3, width), Residual(width), down(width, 2 * width), Residual(2 * width), nn.Conv2d(2 * width, latent, 1)
    )


def decoder(width: int, latent: int, mode: str) -> nn.Module:
    """(B, latent, H/4, W/4) -> (B, 3, H, W), by two up-samplings of a kind that ``up`` knows."""
    return nn.Sequential(
        nn.Conv2d(latent, 2 * width, 1),
        Residual(2 * width),
        up(2 * width, width, mode),
        Residual(width),
        up(width, 3, mode),
    )
