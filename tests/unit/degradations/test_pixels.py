"""Operators on colors of bytes, against torchvision and numbers by hand."""

from itertools import permutations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from aigid.degradations import pixels

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def pixel(*rgb: int) -> np.ndarray:
    return np.array([[rgb]], dtype=np.uint8)


def test_brightness_by_hand():
    assert pixels.brightness(pixel(0, 100, 200), 1.5).ravel().tolist() == [0, 150, 255]


def test_grayscale_is_bt601_luma():
    assert pixels.grayscale(pixel(200, 100, 50)).ravel().tolist() == [124, 124, 124]  # 59.8 + 58.7 + 5.7


def test_color_jitter_by_hand():
    assert np.abs(pixels.color_jitter(IMAGE, 1, 1, 1, 0, 0).astype(int) - IMAGE).max() <= 6  # Pillow's HSV has 8 bits
    assert pixels.color_jitter(pixel(255, 0, 0), 1, 1, 1, 1 / 3, 5).ravel().tolist() == [0, 255, 0]
    assert pixels.color_jitter(pixel(200, 100, 50), 0.5, 1, 1, 0, 0).ravel().tolist() == [100, 50, 25]
    assert pixels.color_jitter(pixel(200, 100, 50), 1, 1, 0, 0, 7).ravel().tolist() == [124, 124, 124]


@pytest.mark.parametrize("number", range(24))
def test_color_jitter_is_torchvisions_in_every_order(number):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    changes = [
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    ]
    factors, picture = (1.4, 0.6, 1.3, -0.175), Image.fromarray(IMAGE)
    for change in list(permutations(range(4)))[number]:
        picture = changes[change](picture, factors[change])
    assert np.array_equal(pixels.color_jitter(IMAGE, *factors, number), np.asarray(picture))


def test_the_order_of_color_jitter_counts():
    assert len({pixels.color_jitter(IMAGE, 1.4, 0.6, 1.3, -0.1, number).tobytes() for number in range(24)}) > 6


@pytest.mark.parametrize(("border", "mode"), [("symmetric", "reflect"), ("reflect", "mirror"), ("edge", "nearest")])
@pytest.mark.parametrize("shape", [(1, 40, 3), (5, 7, 3), (70, 33)])
def test_gaussian_is_scipys_to_the_bit(border, mode, shape):
    image = np.random.default_rng(0).random(shape, np.float32)
    for sigma, radius in ((0.6, None), (2.5, None), (2.5, 3)):
        expected = ndimage.gaussian_filter(image, sigma, radius=radius, mode=mode, axes=(0, 1))
        assert pixels.gaussian(image, sigma, radius, border).tobytes() == expected.tobytes()
