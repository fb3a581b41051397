"""Operators that flip an image or change its size, by hand."""

import numpy as np
from PIL import Image

from aigid.degradations import pixels

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_flips():
    assert np.array_equal(pixels.hflip(IMAGE), np.fliplr(IMAGE))
    assert np.array_equal(pixels.vflip(IMAGE), np.flipud(IMAGE))


def test_low_resolution_is_pillows_bilinear_there_and_back():
    picture = Image.fromarray(IMAGE)
    expected = picture.resize((64, 64), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels.low_resolution(IMAGE, 64, 224), np.asarray(expected))


def test_resize_is_pillows_bicubic():
    expected = Image.fromarray(IMAGE).resize((IMAGE.shape[1] // 2, IMAGE.shape[0] // 2), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels.resize(IMAGE, 0.5), np.asarray(expected))
    assert pixels.resize(IMAGE[:1, :1], 0.1).shape == (1, 1, 3)


def test_centre_crop_takes_the_middle():
    assert np.array_equal(pixels.centre_crop(IMAGE, 0.8), IMAGE[4:36, 6:54])
    assert pixels.centre_crop(IMAGE[:1, :1], 0.1).shape == (1, 1, 3)


def test_square_of_a_square_is_the_image():
    assert np.array_equal(pixels.square(IMAGE, 40), IMAGE[:, 10:50])
    assert pixels.square(IMAGE[:3], 512).shape == (512, 512, 3)


def test_fit_keeps_the_shape():
    expected = Image.fromarray(IMAGE).resize((90, 60), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels.fit(IMAGE, 90), np.asarray(expected))
    assert pixels.fit(IMAGE[:1], 30).shape == (1, 30, 3)


def test_letterbox_adds_black_on_two_sides():
    wide, tall = pixels.letterbox(IMAGE, 2), pixels.letterbox(IMAGE, 1)
    assert (wide.shape, tall.shape) == ((40, 80, 3), (60, 60, 3))
    assert np.array_equal(wide[:, 10:70], IMAGE)
    assert np.array_equal(tall[10:50], IMAGE)
    assert wide[:, :10].max() == wide[:, 70:].max() == tall[:10].max() == tall[50:].max() == 0
    assert np.array_equal(pixels.letterbox(IMAGE, 1.5), IMAGE)
