"""The parts that the small generators share: convolutions that halve, double and keep the resolution."""

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
    """(B, 3, H, W) -> (B, latent, H/f, W/f), f = 2**depth; three channels start as the shrunken photograph."""

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
    """Half the resolution by a strided convolution."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def upsample(channels_in: int, channels_out: int, mode: str) -> nn.Module:
    """Twice the resolution: ``transposed``, ``shuffle``, or ``nearest`` / ``bilinear`` and a convolution."""
    if mode == "transposed":
        return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    if mode == "shuffle":
        return nn.Sequential(nn.Conv2d(channels_in, 4 * channels_out, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(channels_in, channels_out, 3, padding=1))


# The critic of the adversarial generators: one judgement per patch (PatchGAN, Isola et al. 2017).


class Discriminator(nn.Module):
    """High where a patch looks like a photograph's; (B, 3, H, W) -> (B, 1, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            downsample(3, width),
            nn.LeakyReLU(0.2),
            downsample(width, width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def objective(self, real: Tensor, fake: Tensor) -> Tensor:
        """Hinge loss (Lim and Ye 2017)."""
        return (1 - self(real)).relu().mean() + (1 + self(fake)).relu().mean()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


# Autoencoders that differ in how they up-sample: bilinear, transposed GAN, pixel-shuffle GAN.


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


# Convolutional VAE with a nearest-neighbour decoder (Kingma and Welling 2014; the shape of Stable Diffusion's).


class Vae(nn.Module):
    """Encodes to a diagonal normal at a quarter of the resolution and decodes a sample of it."""

    adversarial = 0.0

    def __init__(self, width: int, latent: int = 12, depth: int = 2, kl_weight: float = 1e-4) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(width, 2 * latent, depth), Decoder(width, latent, depth, "nearest")
        self.kl_weight = kl_weight

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(real).chunk(2, dim=1)
        log_variance = log_variance - 6
        fake = self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean))
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        return fake, functional.l1_loss(fake, real) + self.kl_weight * kl

    def forward(self, real: Tensor) -> Tensor:
        return self.objective(real)[0]


# VQ-VAE (van den Oord et al. 2017) with finite scalar quantisation as its codebook (Mentzer et al. 2024).


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


# Small diffusion model (Ho et al. 2020), used image to image: add some noise, then denoise (Meng et al. 2022).


class Diffusion(nn.Module):
    """Predicts the noise of level sigma in (0, ``start``]; sampling walks ``num_levels`` steps down from ``start``."""

    adversarial = 0.0

    def __init__(self, width: int, start: float = 0.06, num_levels: int = 3) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(13, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.register_buffer("levels", start * torch.linspace(1, 0, num_levels + 1))

    def noise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The predicted standard-normal noise in ``x`` (B, 3, H, W) at levels ``sigma`` (B, 1, 1, 1)."""
        folded = functional.pixel_unshuffle(x, 2)
        level = sigma.expand(len(x), 1, *folded.shape[2:])
        return functional.pixel_shuffle(self.leave(self.body(self.enter(torch.cat([folded, level], dim=1)))), 2)

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.levels[0] * torch.rand(len(real), 1, 1, 1)
        noise = torch.randn_like(real)
        x = real + sigma * noise
        predicted = self.noise(x, sigma)
        return x - sigma * predicted, functional.mse_loss(predicted, noise)

    def forward(self, real: Tensor) -> Tensor:
        """Ancestral sampling: from level s to t, jump to t**2/s and add noise of variance t**2 - (t**2/s)**2."""
        x = real + self.levels[0] * torch.randn_like(real)
        for s, t in zip(self.levels[:-1], self.levels[1:], strict=True):
            direction = self.noise(x, s.expand(len(x), 1, 1, 1))
            x = x + (t**2 / s - s) * direction + t * (1 - (t / s) ** 2).sqrt() * torch.randn_like(x)
        return x


# SRGAN-like up-sampler (Ledig et al. 2017): halves a photograph and restores it by pixel shuffle.


class SuperResolution(nn.Module):
    """A residual on the bicubic enlargement of the photograph at half its resolution."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), Residual(width), Residual(width), upsample(width, 3, "shuffle")
        )

    def objective(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = self(real)
        return fake, functional.l1_loss(fake, real)

    def forward(self, real: Tensor) -> Tensor:
        small = functional.interpolate(real, scale_factor=0.5, mode="bicubic", antialias=True)
        return functional.interpolate(small, scale_factor=2, mode="bicubic") + self.body(small)
