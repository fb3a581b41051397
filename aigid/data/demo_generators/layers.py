"""The few layers that the small generators share."""

from torch import Tensor, nn


class Residual(nn.Module):
    """``x + f(x)`` with two 3x3 convolutions; (B, C, H, W) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 3, padding=1)
        self.leave = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.enter(x).relu())


def down(channels_in: int, channels_out: int) -> nn.Module:
    """Half the resolution by a strided convolution."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def up(channels_in: int, channels_out: int, mode: str) -> nn.Module:
    """Twice the resolution: ``transposed``, ``shuffle``, or ``nearest`` / ``bilinear`` and a convolution."""
    if mode == "transposed":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    if mode == "shuffle":
        return nn.Sequential(nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(channels_in, channels_out, 3, padding=1))


def encoder(width: int, latent: int, depth: int) -> nn.Module:
    """(B, 3, H, W) -> (B, latent, H / 2**depth, W / 2**depth)."""
    layers = [down(3, width), Residual(width)]
    if depth == 2:
        layers += [down(width, 2 * width), Residual(2 * width)]
    return nn.Sequential(*layers, nn.Conv2d(depth * width, latent, 1))


def decoder(width: int, latent: int, depth: int, mode: str) -> nn.Module:
    layers = [nn.Conv2d(latent, depth * width, 1), Residual(depth * width)]
    if depth == 2:
        layers += [up(2 * width, width, mode), Residual(width)]
    return nn.Sequential(*layers, up(width, 3, mode))
