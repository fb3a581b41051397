"""AEROBLADE on tiny parts: LPIPS against its formula in NumPy, and the autoencoder's own images come back closer."""

import numpy as np
import pytest
import torch
from torch import nn

from aigid.detectors.aeroblade.detector import Aeroblade
from aigid.detectors.aeroblade.distance import SCALE, SHIFT, Perceptual, published
from aigid.detectors.aeroblade.measure import closeness
from aigid.errors import InputError


class Rounded(nn.Module):
    """Stands for a VAE: gives back the image with its pixels rounded to multiples of ``step``."""

    device = torch.device("cpu")

    def __init__(self, step):
        super().__init__()
        self.step = step

    def encode(self, x):
        latent = ((x + 1) * 127.5 / self.step).round()
        return type("Posterior", (), {"latent_dist": type("Normal", (), {"mode": lambda self: latent})()})()

    def decode(self, z):
        return type("Image", (), {"sample": z * self.step / 127.5 - 1})()


@pytest.fixture
def distance():
    torch.manual_seed(0)
    return Perceptual(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.rand(4))


def test_equals_the_formula(distance):
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.uniform(-1, 1, (2, 3, 6, 6)).astype(np.float32)) for _ in range(2))
    found = distance(a, b).numpy()
    maps = []
    for image in (a, b):
        x = (image.numpy() - np.array(SHIFT).reshape(1, 3, 1, 1)) / np.array(SCALE).reshape(1, 3, 1, 1)
        maps.append(distance.features(torch.from_numpy(x.astype(np.float32))).numpy())
    for number in range(2):
        total = 0.0
        for y in range(4):
            for x in range(4):
                u, v = (part[number, :, y, x] for part in maps)
                u, v = u / (np.sqrt((u**2).sum()) + 1e-10), v / (np.sqrt((v**2).sum()) + 1e-10)
                total += (distance.weights.numpy().ravel() * (u - v) ** 2).sum()
        assert found[number] == pytest.approx(total / 16, rel=1e-4)


def test_an_autoencoders_own_images_come_back(distance):
    rng = np.random.default_rng(0)
    reals = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    coarse, fine = (reals // 40 * 40, reals // 24 * 24)
    vaes = [Rounded(40), Rounded(24)]
    images = np.concatenate([reals, coarse, fine])
    found = closeness(images, vaes, distance)
    np.testing.assert_allclose(found[6:], 0, atol=1e-6)  # the largest over both: each is told by its own
    assert found[:6].max() < -1e-5
    alone = closeness(images, vaes[:1], distance)
    assert alone[12:].max() < 0
    p = Aeroblade.fit(found, np.array([0] * 6 + [1] * 12)).score(found)
    assert p[6:].min() > p[:6].max()


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(InputError, match="not VGG-16 and LPIPS's linear layers"):
        published(tmp_path / "vgg16.pth", tmp_path / "vgg.pth")
