"""Operators that move pixels or change the size, and looks, by hand."""

import numpy as np
import pytest
from PIL import Image

from aigid.degradations import spatial

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def colors(image: np.ndarray) -> np.ndarray:
    return np.sort(image.astype(int).reshape(-1, 3) @ (65536, 256, 1))


def test_shifted_repeats_the_edge():
    row = np.arange(5)[None]
    assert spatial.shift(row, 0, 2).tolist() == [[0, 0, 0, 1, 2]]
    assert spatial.shift(row.T, -1, 0).T.tolist() == [[1, 2, 3, 4, 4]]


def test_flips():
    assert np.array_equal(spatial.hflip(IMAGE), np.fliplr(IMAGE))
    assert np.array_equal(spatial.vflip(IMAGE), np.flipud(IMAGE))


def test_color_shift_moves_the_green_of_an_edge():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 200
    out = spatial.color_shift(image, 3, 0)
    assert np.array_equal(out[..., [0, 2]], image[..., [0, 2]])
    assert (out[5:15, 10, 1] == 0).all()  # full weight at the edge, where green came from 3 px to the left
    assert np.array_equal(out[:, :8], image[:, :8])
    assert np.array_equal(spatial.color_shift(IMAGE, 0, 30), IMAGE)


def test_color_shift_leaves_a_flat_image():
    flat = np.full((9, 9, 3), 77, np.uint8)
    assert np.array_equal(spatial.color_shift(flat, 12, 45), flat)


def test_jitter_of_a_ramp_moves_as_far_as_stated():
    ramp = np.repeat(np.arange(0, 250, 2, dtype=np.uint8)[None, :, None], 120, axis=0).repeat(3, axis=2)
    moved = (spatial.pixel_jitter(ramp, 1, rng()).astype(float) - ramp)[:, 10:-10, 0] / 2
    assert moved.std() == pytest.approx(1, rel=0.05)  # in px: the ramp rises by 2 a pixel
    assert np.array_equal(spatial.pixel_jitter(ramp, 0, rng()), ramp)


@pytest.mark.parametrize("image", [IMAGE, IMAGE[:39, :59]])
def test_pixel_shuffle_moves_the_stated_share_and_loses_no_pixel(image):
    out = spatial.pixel_shuffle(image, 0.1, rng())
    moved = (out != image).any(axis=2)[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    blocks = moved.reshape(moved.shape[0] // 2, 2, -1, 2).any(axis=(1, 3))
    assert blocks.sum() == round(0.1 * blocks.size)
    assert np.array_equal(colors(out), colors(image))


def test_digital_glitch_slides_rows_and_loses_no_pixel():
    out = spatial.digital_glitch(IMAGE, 0.25, rng())
    assert not np.array_equal(out, IMAGE)
    assert all(np.array_equal(colors(row), colors(before)) for row, before in zip(out, IMAGE, strict=True))


def test_color_bleed_smears_color_to_the_right_and_keeps_luma():
    image = np.full((4, 30, 3), 128, np.uint8)
    image[:, 10:20] = (180, 110, 90)
    before, after = (
        np.asarray(Image.fromarray(x).convert("YCbCr")).astype(int) for x in (image, spatial.color_bleed(image, 4))
    )
    assert np.abs(after[..., 0] - before[..., 0]).max() <= 1
    step = before[0, 10, 2] - before[0, 9, 2]
    expected = before[0, 9, 2] + step * np.array([0, 0.2, 0.4, 0.6, 0.8, 1, 1])  # the mean over 5 px up to here
    assert np.abs(after[0, 9:16, 2] - expected).max() <= 1.5


def test_ghosting_by_hand():
    row = np.array([0, 0, 100, 0, 0], np.uint8)[None, :, None].repeat(3, axis=2)
    assert spatial.ghosting(row, 2, 0.4)[0, :, 0].tolist() == [0, 0, 60, 0, 40]


def test_water_drops_grow_in_number_and_show_only_what_is_there():
    image = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    few, many = (spatial.water_drops(image, amount, rng()) for amount in (0.1, 0.8))
    assert 0 < (few != image).mean() < (many != image).mean() < 0.5
    assert set(colors(many)) <= set(colors(image))
    assert np.array_equal(spatial.water_drops(image, 0, rng()), image)


def test_low_resolution_is_pillows_bilinear_there_and_back():
    picture = Image.fromarray(IMAGE)
    expected = picture.resize((64, 64), Image.Resampling.BILINEAR).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(spatial.low_resolution(IMAGE, 64, 224), np.asarray(expected))


def test_centre_crop_takes_the_middle():
    assert np.array_equal(spatial.centre_crop(IMAGE, 0.8), IMAGE[4:36, 6:54])
    assert spatial.centre_crop(IMAGE[:1, :1], 0.1).shape == (1, 1, 3)


def test_square_of_a_square_is_the_image():
    assert np.array_equal(spatial.square(IMAGE, 40), IMAGE[:, 10:50])
    assert spatial.square(IMAGE[:3], 512).shape == (512, 512, 3)


def test_fading_at_full_strength_is_the_stated_print():
    faded = spatial.fading(np.uint8([[(200, 100, 50)]]), 1)
    assert faded.ravel().tolist() == [151, 151, 151]  # 76.5 + 0.6 * 124.2


def test_light_leak_only_lightens_and_most_at_its_angle():
    dark = np.zeros((40, 60, 3), np.uint8)
    leak = spatial.light_leak(dark, 0.6, 0)
    assert (spatial.light_leak(IMAGE, 0.6, 70) >= IMAGE).all()
    assert leak[20, -1, 0] == leak.max()
    assert leak.max() == pytest.approx(0.6 * 255, abs=2)
    assert leak[20, -1, 0] > 2 * leak[20, 0, 0]


def test_night_vision_at_full_strength_is_green():
    view = spatial.night_vision(np.full((50, 50, 3), 128, np.uint8), 1, np.random.default_rng(0)).reshape(-1, 3)
    assert (view.argmax(axis=1) == 1).all()
    assert np.allclose(view[:, 0], 0.15 * view[:, 1], atol=1)
