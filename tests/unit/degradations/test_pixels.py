"""Operators on colors against colorsys, scikit-image and numbers by hand."""

import colorsys

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from aigid.degradations import pixels

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, axis=2)
IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)


def pixel(*rgb: int) -> np.ndarray:
    return np.array([[rgb]], dtype=np.uint8)


def test_brightness_contrast_and_quantization_by_hand():
    assert pixels.brightness(pixel(0, 100, 200), 1.5).ravel().tolist() == [0, 150, 255]
    assert pixels.contrast(pixel(51, 102, 204), -0.5).ravel().tolist() == [89, 115, 166]  # 127.5 + (x - 127.5) / 2
    assert pixels.contrast(pixel(10, 102, 250), 0.5).ravel().tolist() == [0, 89, 255]
    assert pixels.quantization(pixel(60, 70, 250), 3).ravel().tolist() == [0, 128, 255]
    assert len(np.unique(pixels.quantization(RAMP, 7))) == 7
    assert len(np.unique(pixels.banding(RAMP, 3))) == 8


@pytest.mark.parametrize("factor", [1, 0.4, 0, -0.4])
def test_saturation_agrees_with_colorsys(factor):
    def reference(rgb):
        hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
        return colorsys.hsv_to_rgb(hue, saturation * max(factor, 0), value)

    expected = 255 * np.apply_along_axis(reference, 2, IMAGE)
    assert np.abs(pixels.saturation(IMAGE, factor) - expected).max() <= 0.501


@pytest.mark.parametrize(("operator", "sign"), [(pixels.brighten, 1), (pixels.darken, -1)])
@pytest.mark.parametrize("amount", [0.1, 0.4, 1.1])
@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_lightness_curve_agrees_with_scikit_image(operator, sign, amount):
    lab = rgb2lab(IMAGE)
    lightness = lab[..., 0] / 100
    lab[..., 0] = 100 * np.clip(lightness + sign * 2 * amount * lightness * (1 - lightness), 0, 1)
    exists = (lab[..., 0] + 16) / 116 - lab[..., 2] / 200 > 0  # scikit-image clips a negative Z, which no light has
    assert exists.mean() > 0.7
    assert np.abs(operator(IMAGE, amount) - 255 * lab2rgb(lab))[exists].max() <= 1.5


def test_brighten_keeps_black_and_white_and_lifts_the_middle():
    ends = pixels.brighten(np.concatenate([pixel(0, 0, 0), pixel(255, 255, 255)]), 0.7)
    assert ends.ravel().tolist() == [0, 0, 0, 255, 255, 255]
    grey = pixels.brighten(pixel(119, 119, 119), 0.4)  # L = 50 goes to 70, which is sRGB 171
    assert grey.ravel().tolist() == [171, 171, 171]


def test_grayscale_is_bt601_luma():
    assert pixels.grayscale(pixel(200, 100, 50)).ravel().tolist() == [124, 124, 124]  # 59.8 + 58.7 + 5.7


def test_color_jitter_by_hand():
    assert np.abs(pixels.color_jitter(IMAGE, 1, 1, 1, 0).astype(int) - IMAGE).max() <= 6  # Pillow's HSV has 8 bits
    assert pixels.color_jitter(pixel(255, 0, 0), 1, 1, 1, 1 / 3).ravel().tolist() == [0, 255, 0]
    assert pixels.color_jitter(pixel(200, 100, 50), 0.5, 1, 1, 0).ravel().tolist() == [100, 50, 25]
    assert pixels.color_jitter(pixel(200, 100, 50), 1, 1, 0, 0).ravel().tolist() == [124, 124, 124]
