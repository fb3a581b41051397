"""The parts that the small generators share: convolutions that halve, double and keep the resolution."""

from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """``x + f(x)`` with two 3x3 convolutions; (B, C, H, W) in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 3, padding=1)
        self.leave = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.enter(x).relu())


class Encoder(nn.Module):
    """(B, 3, H, W) -> (B, latent, H/f, W/f), f = 2**depth; three channels start as the shrunken photograph."""

    def __init__(self, width: int, latent: int, depth: int) -> None:
        super().__init__()
        layers = [down(3, width), Residual(width)]
        for _ in range(depth - 1):
            layers += [down(width, width), Residual(width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, latent, 1))
        self.shrink = nn.AvgPool2d(2**depth)

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(x)
        return z + functional.pad(self.shrink(x), (0, 0, 0, 0, 0, z.shape[1] - 3))


class Decoder(nn.Module):
    """(B, latent, H, W) -> (B, 3, f H, f W): the first three channels enlarged, plus what the convolutions add."""

    def __init__(self, width: int, latent: int, depth: int, mode: str) -> None:
        super().__init__()
        layers = [nn.Conv2d(latent, width, 1), Residual(width)]
        for _ in range(depth - 1):
            layers += [up(width, width, mode), Residual(width)]
        self.body = nn.Sequential(*layers, up(width, 3, mode))
        self.enlarge = nn.Upsample(scale_factor=2**depth, mode="nearest" if mode == "nearest" else "bilinear")

    def forward(self, z: Tensor) -> Tensor:
        return self.enlarge(z[:, :3]) + self.body(z)


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
