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
    """(B, 3, H, W) -> (B, latent, H/2, W/2); the first three channels start as the halved photograph."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.body = nn.Sequential(down(3, width), Residual(width), nn.Conv2d(width, latent, 1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(x)
        return z + functional.pad(functional.avg_pool2d(x, 2), (0, 0, 0, 0, 0, z.shape[1] - 3))


class Decoder(nn.Module):
    """(B, latent, H, W) -> (B, 3, 2H, 2W): the first three channels enlarged, plus what the convolutions add."""

    def __init__(self, width: int, latent: int, mode: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(latent, width, 1), Residual(width), up(width, 3, mode))
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear" if mode == "bilinear" else "nearest")

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
