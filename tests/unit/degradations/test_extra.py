"""FeatDistill's extra operators against the worked values of its code, and slow references."""

import numpy as np
import pytest
from scipy.ndimage import convolve as direct
from scipy.ndimage import gaussian_filter

from aigid.degradations import extra
from aigid.degradations.pixels import to_float
from tests.helpers.images import crops
from tests.helpers.patterns import PX, R8, R21, RAMP, TONE, close

PHOTO = to_float(crops(1, 41, 56)[0])
NOISE = np.random.default_rng(0).random((41, 56, 3), dtype=np.float32)
ONES = np.ones((8, 8, 3), np.float32)


def clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 1)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[None, :, None].repeat(3, axis=2)


def test_blockiness_by_hand():
    out = extra.jpeg_blockiness(R8, 40)[..., 0]
    close(out[0], ".182747 .184602 .189426 .195775 .24022 .246569 .251393 .253248")
    close(out[3], ".286972 .288826 .293651 .3 .344444 .350794 .355618 .357473")
    close(out[7], ".746752 .748607 .753431 .75978 .804225 .810574 .815398 .817253")


@pytest.mark.parametrize(("size", "counts"), [(10, [5, 5]), (11, [6, 5]), (15, [5, 5, 5])])
def test_blockiness_stretches_cells_over_a_remainder(size, counts):
    column = np.zeros((8, size, 3), np.float32)
    column[:] = np.minimum(np.arange(size) // 4, len(counts) - 1)[None, :, None] / 10
    mosaic = np.repeat(np.arange(len(counts)) / 10, counts)
    out = extra.jpeg_blockiness(column, 40)[0, :, 0]
    blurred = gaussian_filter(column[..., 0].astype(float), 1.5, radius=2, mode="mirror")[0]
    close(out, 0.4 * blurred + 0.6 * mosaic)


def test_blocks_grow_as_quality_falls_and_small_images_stay():
    image, sides = NOISE[:40, :40], []
    blurred = gaussian_filter(image, 1.5, radius=2, mode="mirror", axes=(0, 1))
    for quality in (40, 38, 35, 32, 30, 28, 25, 22, 20, 18, 15, 12, 10, 8, 5):
        mosaic = (extra.jpeg_blockiness(image, quality) - np.float32(0.4) * blurred)[0, :, 0]
        sides.append(int(np.flatnonzero(np.abs(np.diff(mosaic)) > 1e-4)[0] + 1))
    # With 40 px cells of 12 px are stretched to 40 / 3, and those of 16 px to 20.
    assert sides == [4] * 8 + [5, 5, 6 + 1, 8, 10, 14, 20]
    assert np.array_equal(extra.jpeg_blockiness(R8[:3], 40), R8[:3])


def test_ringing_adds_the_laplacian_of_a_frame_of_black():
    flat = extra.compression_ringing(np.full((4, 4, 3), 0.5, np.float32), 0.2)[..., 1]
    border, corner = [0.4, 0.5, 0.5, 0.4], [0.3, 0.4, 0.4, 0.3]
    close(flat, [corner, border, border, corner])
    values = """.005867 .027787 .06068 0 .259947 .333333 .4 .29108
        .50892 .6 .666667 .540053 .66432 .73932 .772213 .594133"""
    close(clip(extra.compression_ringing(RAMP, 0.2))[..., 0], values)


def test_colors_of_gif_and_bands():
    # Not at exact halves, where float32 decides, as TONE's .5 is for an even number of levels.
    third, seventh = 1 / 3, 1 / 7
    for colors, values in (
        (128, [0, 0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1]),
        (64, [0, 0, third, third, third, 2 * third, 2 * third, 2 * third, 2 * third, 1, 1]),
        (32, [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]),
    ):
        close(extra.gif_quantization(TONE, colors)[0, :, 0], values)
    for bits, values in (
        (3, [0, seventh, seventh, 2 / 7, 3 / 7, 4 / 7, 4 / 7, 5 / 7, 6 / 7, 6 / 7, 1]),
        (4, [0, 0.133333, 0.2, 0.266667, 0.4, 0.533333, 0.6, 0.666667, 0.8, 0.933333, 1]),
    ):
        close(extra.color_banding(TONE, bits)[0, :, 2], values)


@pytest.mark.parametrize("image", [NOISE, NOISE[:40]])
def test_shuffle_permutes_within_blocks(image):
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(20):
        out = extra.pixel_shuffle(image, 0.1, rng)
        before, after = (x[: len(x) // 2 * 2].reshape(-1, 2, x.shape[1] // 2, 2, 3) for x in (image, out))
        moved = (before != after).any(axis=4)
        changed.append(moved.any(axis=(1, 3)).mean())
        blocks = [np.moveaxis(x, 2, 1).reshape(-1, 4, 3) for x in (before, after)]
        codes = [np.sort((block * (1, 2**9, 2**18)).sum(axis=2), axis=1) for block in blocks]
        assert np.array_equal(*codes)  # whole pixels, each in its block
    assert np.mean(changed) == pytest.approx(0.1 * 23 / 24, rel=0.06)


def test_shuffle_draws_all_24_orders():
    image = np.tile(np.array([[0.1, 0.2], [0.3, 0.4]], np.float32), (200, 200))[..., None].repeat(3, axis=2)
    out = extra.pixel_shuffle(image, 1, np.random.default_rng(0))[..., 0]
    orders, counts = np.unique(
        out.reshape(200, 2, 200, 2).swapaxes(1, 2).reshape(-1, 4).round(1), axis=0, return_counts=True
    )
    assert len(orders) == 24
    assert counts.min() > 0.85 * 40_000 / 24


LINES = {
    (5, 0): [(2, c) for c in range(5)],
    (5, 30): [(3, 0), (2, 1), (2, 2), (2, 3), (1, 4)],
    (5, 45): [(3, 1), (2, 2), (1, 3)],
    (5, 90): [(r, 2) for r in range(5)],
    (5, 135): [(1, 1), (2, 2), (3, 3)],
    (7, 20): [(4, 0), (4, 1), (3, 2), (3, 3), (3, 4), (2, 5), (2, 6)],
    # DDA's, whose angles turn the other way
    (5, -30): [(1, 0), (2, 1), (2, 2), (2, 3), (3, 4)],
    (5, -60): [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3)],
    (5, -120): [(0, 3), (1, 2), (2, 2), (3, 2), (4, 1)],
}


@pytest.mark.parametrize("key", LINES)
def test_lines_by_hand(key):
    kernel = extra.line(*key)
    assert sorted(zip(*map(list, np.nonzero(kernel)), strict=True)) == sorted(LINES[key])
    close(kernel[kernel > 0], [1 / len(LINES[key])] * len(LINES[key]))


def test_motion_blur_has_a_dark_frame():
    close(extra.motion_blur(ONES, 5, 0)[3, :, 0], ".6 .8 1 1 1 1 .8 .6")
    values = """.013333 .04 .133333 .133333 .146667 .24 .346667 .293333
        .306667 .453333 .56 .453333 .466667 .666667 .56 .386667"""
    close(extra.motion_blur(RAMP, 5, 30)[..., 0], values)


def test_defocus_by_hand():
    close(extra.defocus_blur(ONES[:4, :4], 1)[:2, :2, 0], ".6 .8 .8 1")
    values = """.102564 .153846 .174359 .153846 .230769 .333333 .369231 .302564
        .312821 .476923 .512821 .384615 .307692 .441026 .461538 .358974"""
    close(extra.defocus_blur(RAMP, 2)[..., 0], values)


@pytest.mark.parametrize(("radius", "cells"), [(1, 5), (2, 13), (3, 29), (4, 49), (5, 81)])
def test_defocus_counts_its_cells_and_agrees_with_direct_convolution(radius, cells):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = (np.hypot(y, x) <= radius).astype(float)
    assert kernel.sum() == cells
    slow = direct(PHOTO.astype(float), kernel[..., None] / cells, mode="constant")
    close(extra.defocus_blur(PHOTO, radius), slow)


def test_color_bleed_by_hand():
    image = np.zeros((4, 8, 3), np.float32)
    image[:, :4, 0] = image[:, 4:, 2] = 1
    out = clip(extra.color_bleed(image, 2))[1]
    close(out[:, 0], "1 .913375 1 .913375 .614013 .47891 .33609 .200987")
    close(out[:, 1], "0 .019663 0 .019663 0 0 0 0")
    close(out[:, 2], "0 .125951 0 .125951 .107236 .303672 .511331 .707768")
    close(clip(extra.color_bleed(image, 1))[1, :, 0], "1 1 .913375 .799013 .47891 .33609 .200987 .086625")


def test_light_leaks_by_hand():
    black, left = np.zeros((5, 5, 3), np.float32), extra.Blob(2, 0, 4, 4, 1)
    leak = extra.leak(black, 0.6, [left])
    close(leak[2, :, 0], ".6 .58154 .529498 .452904 .363918")
    close(leak[2, :, 1], ".24 .232616 .211799 .181162 .145567")
    close(leak[0, :, 0], ".529498 .513207 .46728 .399686 .321157")
    both = extra.leak(black + np.float32(0.5), 0.6, [left, extra.Blob(2, 4, 4, 4, 0.8)])
    close(both[2, :, :2], [[0.8, 0.62]] * 5)


def test_light_leaks_are_on_the_edges():
    rng, black = np.random.default_rng(0), np.zeros((61, 41, 3), np.float32)
    for _ in range(50):
        light = extra.light_leak(black, 0.3, rng)[..., 0]
        peak = np.unravel_index(light.argmax(), light.shape)
        edge = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
        assert light.max() <= 0.3 + 1e-6
        assert light[peak] - edge.max() < 0.05  # sums of blobs may be brightest between them


def test_fading_by_hand():
    for amount, values in (
        (0.1, ".253 .595 .424 .975 .12 .12 .31 .31 .31 .88 .538 .196"),
        (0.3, ".347 .585 .466 .925 .33 .33 .33 .33 .33 .84 .602 .364"),
        (0.6, ".458 .57 .514 .85 .57 .57 .36 .36 .36 .78 .668 .556"),
    ):
        close(extra.fading(PX, amount), values)


def test_glitch_rolls_rows():
    assert np.roll(np.arange(8), 3).tolist() == [5, 6, 7, 0, 1, 2, 3, 4]
    rng, whole, single = np.random.default_rng(0), 0, 0
    for _ in range(200):
        out = extra.digital_glitch(PHOTO, 0.05, rng)  # one band
        changed = np.flatnonzero((out != PHOTO).any(axis=(1, 2)))
        channels = (out != PHOTO).any(axis=(0, 1))
        whole, single = whole + (channels.sum() == 3), single + (channels.sum() == 1)
        assert len(changed) <= 3  # max(2, 41 // 10) - 1
        for index in changed:
            moves = [np.roll(PHOTO[index], move, axis=0) for move in range(-2, 3)]
            assert any((moved == out[index]).all(axis=0)[channels].all() for moved in moves)
    assert 50 < whole < 110  # a fifth does not move at all
    assert 50 < single < 110


def test_a_drop_by_hand():
    out = R21.copy()
    extra.add_drop(out, R21, 10, 10, 5)
    middle = ".488636 .493182 .495455 .497727 .497727 .8 .5 .5 .502273 .504545 .511364"
    close(out[10, 5:16, 0], middle)
    close(out[7, 5:16, 1], ".345455 .347727 .301 .4 .402273 .404545 .404545 .406818 .310773 .365909 .368182")
    assert np.array_equal(out[:5], R21[:5])


def test_drops_show_the_image_below_them_and_small_images_stay():
    out = extra.water_drops(PHOTO, 0.8, np.random.default_rng(0))
    assert (out != PHOTO).any()
    assert np.array_equal(extra.water_drops(PHOTO[:4], 0.8, np.random.default_rng(0)), PHOTO[:4])


def test_night_vision_by_hand():
    quiet = np.zeros((2, 4, 3), np.float32)
    two = np.tile(PX, (2, 1, 1))
    full = extra.tube(two, 1, quiet)
    close(full[0], ".050958 .458622 .101916 .028358 .255217 .056715 .0285 .2565 .057 .067545 .607905 .13509")
    close(full[1, 0], ".05364 .48276 .10728")
    faint = ".170192 .571724 .340383 .805672 .051043 .011343 .2457 .2913 .2514 .733509 .521581 .107018"
    close(extra.tube(two, 0.2, quiet)[0], faint)
    noise = extra.night_vision(np.full((300, 300, 3), 0.5, np.float32), 1, np.random.default_rng(0))
    assert noise[1::2, :, 1].std() == pytest.approx(0.1, rel=0.02)


def test_ghosts_by_hand():
    image = row(*np.arange(1, 9) / 10)
    close(extra.ghosting(image, 2, 0.4)[0, :, 0], ".08 .16 .28 .4 .52 .64 .76 .88")
    close(extra.ghosting(image, 2, 0.1)[0, :, 0], ".095 .19 .295 .4 .505 .61 .715 .82")
