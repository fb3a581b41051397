"""Train a generator on photographs' tiles, and let it make fakes of others."""

import numpy as np
import torch
from torch import Tensor, nn

from aigid.data.demo_generators.layers import down


class Critic(nn.Module):
    """PatchGAN: one judgement per 4x4 pixels (Isola et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            down(3, width), nn.LeakyReLU(0.2), down(width, 2 * width), nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def fit(model: nn.Module, tiles: np.ndarray, width: int, steps: int, batch: int, crop: int, rate: float) -> None:
    """Train ``model`` on random crops of ``tiles`` (N, S, S, 3) uint8."""
    pixels = to_tensor(tiles)
    critic = Critic(width).to(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)
    optimizers = [torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5 if net is critic else 0.9, 0.99)) for net in (model, critic)]
    schedules = [torch.optim.lr_scheduler.OneCycleLR(o, rate, total_steps=steps + 1, pct_start=0.1) for o in optimizers]
    for _ in range(steps):
        real = random_crops(pixels, batch, crop)
        fake, loss = model.objective(real)
        if model.adversarial:
            loss = loss - model.adversarial * critic(fake).mean()
        step(optimizers[0], loss)
        if model.adversarial:
            step(optimizers[1], (1 - critic(real)).relu().mean() + (1 + critic(fake.detach())).relu().mean())
        for s in schedules:
            s.step()


def step(optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def random_crops(pixels: Tensor, batch: int, crop: int) -> Tensor:
    rows = torch.randint(len(pixels), (batch,))
    top, left = torch.randint(pixels.shape[-1] - crop + 1, (2,)).tolist()
    x = pixels[rows, :, top : top + crop, left : left + crop]
    return (x.flip(-1) if torch.rand(()) < 0.5 else x).contiguous(memory_format=torch.channels_last)


def to_tensor(tiles: np.ndarray) -> Tensor:
    return torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(x: Tensor) -> np.ndarray:
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
