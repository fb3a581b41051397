"""The encoder alone: out of memory, overflow, company."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from aigid.core.errors import InputError
from aigid.features import backbones, encoder
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from tests.helpers.images import random_images
from tests.helpers.tiny_models import CLIP, SIGLIP

CPU = torch.device("cpu")
SETTINGS = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})


class Fake(nn.Module):
    """The mean of each channel, ``times`` over; out of memory above ``most`` images."""

    def __init__(self, max_batch=10**6, times=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(times))
        self.most, self.sizes, self.kinds = max_batch, [], []

    def __deepcopy__(self, memo):
        return Fake(self.most, self.weight.item())

    def forward(self, pixels):
        self.sizes.append(len(pixels))
        self.kinds.append(pixels.dtype)
        if len(pixels) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pixels.mean((2, 3)) * self.weight


@pytest.fixture
def fake(monkeypatch):
    def load(**changes):
        network = Fake(**changes)
        monkeypatch.setattr(encoder, "load_encoder", lambda settings: network)
        return network

    return load


def expected(pixels):
    changes = SETTINGS.preprocess
    return (pixels / 255 - changes.mean).mean((1, 2)) / changes.std


@pytest.mark.parametrize(("max_batch", "batch"), [(5, 4), (1, 1), (16, 16)])
def test_the_batch_is_halved_until_it_fits(fake, max_batch, batch):
    network = fake(max_batch=max_batch)
    backbone = TorchBackbone(SETTINGS, CPU)
    backbone.batch = 16
    np.testing.assert_allclose(backbone.encode(random_images(21)), expected(random_images(21)), atol=1e-5)
    assert backbone.batch == batch
    settled = network.sizes[-(21 // batch) :]
    assert set(settled) == {batch}
    backbone.encode(random_images(3))
    assert network.sizes[-1] == batch  # what did not fit is not tried again


def test_no_room_for_one_image_is_one_line(fake):
    backbone = fake()
    backbone = TorchBackbone(SETTINGS, CPU)
    backbone.network.most = 0
    with pytest.raises(InputError, match="tiny: cpu has too little memory for one image at a time"):
        backbone.encode(random_images(3))


def test_half_precision_is_computed_again_where_it_overflows(fake):
    fake(times=1e4)
    backbone = TorchBackbone(SETTINGS, CPU, batch=4, half=True)
    assert backbone.device_info == "cpu float16"
    dark = np.zeros((6, 32, 32, 3), np.uint8)  # about -1.8 after normalisation: 18,000
    bright = np.full((6, 32, 32, 3), 255, np.uint8)
    np.testing.assert_allclose(backbone.encode(dark), expected(dark) * 1e4, rtol=2e-3)
    assert backbone.network.sizes == []
    backbone._narrow.weight.data *= 10
    backbone.network.weight.data *= 10
    np.testing.assert_allclose(backbone.encode(bright), expected(bright) * 1e5, rtol=1e-5)
    assert set(backbone.network.kinds) == {torch.float32}
    assert set(backbone._narrow.kinds) == {torch.float16}


@pytest.mark.parametrize(("library", "config"), [("open_clip", CLIP), ("transformers", SIGLIP)])
def test_half_precision_is_near(library, config):
    settings = SETTINGS.model_copy(update={"library": library, "config": config})
    wide, half = TorchBackbone(settings, CPU, 4), TorchBackbone(settings, CPU, 4, half=True)
    assert wide.fingerprint == half.fingerprint
    a, b = wide.encode(random_images(7)), half.encode(random_images(7))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.abs(a - b).max() > 0
    assert (1 - cosine).max() < 1e-4


def test_an_embedding_does_not_depend_on_its_company():
    backbone = TorchBackbone(SETTINGS, CPU, 16)
    together = backbone.encode(random_images(16))
    for n in range(16):
        np.testing.assert_array_equal(backbone.encode(random_images(16)[n:])[0], together[n])


def test_a_batch_leaves_the_one_before_and_its_own_pixels_alone():
    backbone = TorchBackbone(SETTINGS, CPU, 8)
    images, other = random_images(8), 255 - random_images(8)
    first, second = backbone.encode_async(images), backbone.encode_async(other)
    np.testing.assert_array_equal(first(), TorchBackbone(SETTINGS, CPU, 8).encode(random_images(8)))
    np.testing.assert_array_equal(second(), TorchBackbone(SETTINGS, CPU, 8).encode(255 - random_images(8)))
    np.testing.assert_array_equal(images, random_images(8))


@pytest.mark.parametrize("size", [1, 2, 4, 64])
def test_an_embedding_depends_on_the_batch_by_rounding_alone(size):
    """By none on many CPUs; those with AMX multiply matrices of four images' rows otherwise than of sixteen's."""
    network = backbone_settings("tiny_clip")
    together = TorchBackbone(network, CPU, 16).encode(random_images(9))
    np.testing.assert_allclose(TorchBackbone(network, CPU, size).encode(random_images(9)), together, rtol=0, atol=1e-6)


def test_the_way_of_decoding_is_in_the_fingerprint():
    exact = TorchBackbone(SETTINGS, CPU)
    fast = TorchBackbone(SETTINGS.model_copy(update={"decode": "fast"}), CPU)
    assert exact.weights_sha256 == fast.weights_sha256
    assert exact.fingerprint != fast.fingerprint


def test_batches(monkeypatch):
    assert [encoder.power_of_two(n) for n in (0, 1, 2, 3, 255, 256)] == [0, 1, 2, 2, 128, 256]
    gigabyte = 10**9
    assert (
        encoder.largest_that_fits(2 * gigabyte, (1_080_000_000, 1_160_000_000), (8, 16)) == 64
    )  # 10 MB each, half of 2 GB
    assert encoder.largest_that_fits(80 * gigabyte, (1_080_000_000, 1_160_000_000), (8, 16)) == backbones.LARGEST_BATCH
    assert encoder.largest_that_fits(gigabyte // 1000, (0, gigabyte), (8, 16)) == 1
    backbone = TorchBackbone(SETTINGS, CPU)
    for requested, num_images, want in ((None, 10**6, 16), (None, 1, 16), (3, 100, 3), (300, 2, 2)):
        TorchBackbone.choose_batch(backbone, requested, num_images)
        assert backbone.batch == want
    monkeypatch.setattr(encoder, "LARGE", 1)
    TorchBackbone.choose_batch(backbone, None, 10**6)
    assert backbone.batch == 4


def test_a_batch_found_on_cuda_can_be_bounded(monkeypatch):
    monkeypatch.setattr(encoder, "_measure_batch_size", lambda backbone: 256)
    backbone = SimpleNamespace(device=torch.device("cuda"))
    for requested, largest, want in ((None, 256, 256), (None, 32, 32), (64, 32, 64)):
        TorchBackbone.choose_batch(backbone, requested, 10**6, largest)
        assert backbone.batch == want
