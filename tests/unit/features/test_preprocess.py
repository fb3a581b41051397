"""Our squares are the libraries' own transforms, to the last bit."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop

from aigid.features.preprocess import CLIP_MEAN, CLIP_STD, Preprocess, resize_and_crop

SIZES = [(224, 224), (300, 200), (201, 333), (37, 512), (31, 29), (225, 224), (1, 1)]


def photo(width, height):
    rng = np.random.default_rng([width, height])
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_equals_open_clip(width, height, resize):
    image = photo(width, height)
    ours = resize_and_crop(image, Preprocess(size=64, resize=resize)).astype(np.float32) / 255
    ours = (ours - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    theirs = open_clip.image_transform(64, is_train=False, resize_mode=resize, interpolation="bicubic")
    expected = theirs(Image.fromarray(image)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_resize_equals_torchvision_centre_crop(width, height):
    image = photo(width, height)
    ours = resize_and_crop(image, Preprocess(size=64, resize="none"))
    theirs = CenterCrop(64)(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0)
    np.testing.assert_array_equal(ours, theirs.numpy())
