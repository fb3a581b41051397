"""The demo's small generators and their discriminator; all map images in [-1, 1] to fakes of them."""

import torch
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
    """(B, 3, H, W) -> (B, latent, H/f, W/f), f = 2**depth; three channels start as the downscaled image."""

    def __init__(self, width: int, latent: int, depth: int) -> None:
        super().__init__()
        layers = [downsample(3, width), Residual(width)]
        for _ in range(depth - 1):
            layers += [downsample(width, width), Residual(width)]
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
            layers += [upsample(width, width, mode), Residual(width)]
        self.body = nn.Sequential(*layers, upsample(width, 3, mode))
        self.enlarge = nn.Upsample(scale_factor=2**depth, mode="nearest" if mode == "nearest" else "bilinear")

    def forward(self, z: Tensor) -> Tensor:
        return self.enlarge(z[:, :3]) + self.body(z)


def downsample(channels_in: int, channels_out: int) -> nn.Module:
    """Return a strided convolution that halves the resolution."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def upsample(channels_in: int, channels_out: int, mode: str) -> nn.Module:
    """Return layers that double the resolution: ``transposed``, ``shuffle``, or ``nearest`` / ``bilinear`` and conv."""
    if mode == "transposed":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    if mode == "shuffle":
        return nn.Sequential(nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(channels_in, channels_out, 3, padding=1))


class Discriminator(nn.Module):
    """PatchGAN (Isola et al., 2017): high where a patch looks real; (B, 3, H, W) -> (B, 1, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = downsample(3, width), downsample(width, width)
        last = nn.Conv2d(width, 1, 3, padding=1)
        self.body = nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2), last)

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the hinge loss (Lim and Ye, 2017)."""
        return (1 - self(real)).relu().mean() + (1 + self(fake)).relu().mean()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class _Reconstruction(nn.Module):
    """A generator that is trained to reconstruct, with an L1 loss."""

    adversarial = 0.0

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)


class Autoencoder(_Reconstruction):
    """Encodes to a quarter of the resolution; ``adversarial`` > 0 makes it a GAN with a patch discriminator."""

    def __init__(self, width: int, mode: str, latent: int = 16, depth: int = 2, adversarial: float = 0.0) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, latent, depth), Decoder(width, latent, depth, mode)
        self.adversarial = adversarial

    def forward(self, real: Tensor) -> Tensor:
        return self.decoder(self.encoder(real))


class Vae(nn.Module):
    """Convolutional VAE (Kingma and Welling, 2014): samples a diagonal normal at a quarter of the resolution.

    Its decoder upsamples by nearest neighbors, as Stable Diffusion's.
    """

    adversarial = 0.0

    def __init__(self, width: int, latent: int = 4, depth: int = 2, kl_weight: float = 1e-4) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, 2 * latent, depth), Decoder(width, latent, depth, "nearest")
        self.kl_weight = kl_weight

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(real).chunk(2, dim=1)
        log_variance = log_variance - 6
        fake = self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean))
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return fake, functional.l1_loss(fake, real) + self.kl_weight * kl

    def forward(self, real: Tensor) -> Tensor:
        return self.loss(real)[0]


class VqVae(_Reconstruction):
    """VQ-VAE (van den Oord et al., 2017) with finite scalar quantization (Mentzer et al., 2024).

    Rounds each latent value, at a quarter of the resolution, to one of ``levels`` (odd).
    Decodes by transposed convolutions.
    """

    def __init__(self, width: int, latent: int = 4, depth: int = 2, levels: int = 17) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, latent, depth), Decoder(width, latent, depth, "transposed")
        self.max_level = levels // 2

    def quantize(self, z: Tensor) -> Tensor:
        """Return codes in [-1, 1]; the gradient passes the rounding unchanged (straight-through)."""
        bounded = self.max_level * z.clamp(-1, 1)
        return (bounded + (bounded.round() - bounded).detach()) / self.max_level

    def forward(self, real: Tensor) -> Tensor:
        return self.decoder(self.quantize(self.encoder(real)))


class Diffusion(nn.Module):
    """Small diffusion model (Ho et al., 2020), used image to image (Meng et al., 2022): adds some noise and denoises.

    Predicts the noise of level sigma in (0, ``start``]; sampling walks ``num_levels`` steps down from ``start``.
    """

    adversarial = 0.0
    levels: Tensor

    def __init__(self, width: int, start: float = 0.06, num_levels: int = 3) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(13, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.register_buffer("levels", start * torch.linspace(1, 0, num_levels + 1))

    def noise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the predicted standard-normal noise in ``x`` (B, 3, H, W) at levels ``sigma`` (B, 1, 1, 1)."""
        folded = functional.pixel_unshuffle(x, 2)
        level = sigma.expand(len(x), 1, *folded.shape[2:])
        return functional.pixel_shuffle(self.leave(self.body(self.enter(torch.cat([folded, level], dim=1)))), 2)

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.levels[0] * torch.rand(len(real), 1, 1, 1)
        noise = torch.randn_like(real)
        x = real + sigma * noise
        predicted = self.noise(x, sigma)
        return x - sigma * predicted, functional.mse_loss(predicted, noise)

    def forward(self, real: Tensor) -> Tensor:
        """Sample ancestrally: from level s to t, jump to t**2/s and add noise of variance t**2 - (t**2/s)**2."""
        x = real + self.levels[0] * torch.randn_like(real)
        for s, t in zip(self.levels[:-1], self.levels[1:], strict=True):
            direction = self.noise(x, s.expand(len(x), 1, 1, 1))
            x = x + (t**2 / s - s) * direction + t * (1 - (t / s) ** 2).sqrt() * torch.randn_like(x)
        return x


class SuperResolution(_Reconstruction):
    """SRGAN-like (Ledig et al., 2017): halves an image, and adds a residual to its bicubic enlargement."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), Residual(width), Residual(width), upsample(width, 3, "shuffle")
        )

    def forward(self, real: Tensor) -> Tensor:
        small = functional.interpolate(real, scale_factor=0.5, mode="bicubic", antialias=True)
        return functional.interpolate(small, scale_factor=2, mode="bicubic") + self.body(small)
