"""Blurs, noise and compression against their formulas and independent implementations."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import convolve, median_filter

from aigid.degradations import filters
from aigid.degradations.filters import (
    dct_mix,
    gaussian_blur,
    jpeg,
    match_jpeg_quality,
    match_laplacian,
    match_local_energy,
    pixel_mix,
)
from aigid.images import has_color
from aigid.images.properties import laplacian_energy
from tests.helpers.images import crops


def spot(side: int = 31) -> np.ndarray:
    image = np.zeros((side, side, 3), np.uint8)
    image[side // 2, side // 2] = 255
    return image


def noisy(height: int = 24, width: int = 37) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bell(sigma: float, radius: int) -> np.ndarray:
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return np.outer(weights, weights) / weights.sum() ** 2


@pytest.mark.parametrize(("sigma", "radius"), [(1.0, None), (2.0, None), (1.1, 2)])
def test_gaussian_blur_of_an_impulse_is_the_gaussian(sigma, radius):
    reach = radius or int(4 * sigma + 0.5)
    expected = np.pad(np.rint(255 * bell(sigma, reach)), 15 - reach)
    assert np.array_equal(filters.gaussian_blur(spot(), sigma, radius)[..., 1], expected)


def test_median_blur_agrees_with_scipy():
    assert np.array_equal(filters.median_blur(noisy(), 3)[1:-1, 1:-1], median_filter(noisy(), (3, 3, 1))[1:-1, 1:-1])


def test_dda_blur_is_torchvisions():
    assert filters.dda_gaussian_blur(spot(), 1, 1)[14:17, 14:17, 0].tolist() == [
        [19, 32, 19],
        [32, 52, 32],
        [19, 32, 19],
    ]
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    for radius, sigma in ((1, 0.1), (1, 1.7), (2, 0.9), (2, 2.0)):
        slow = np.asarray(functional.gaussian_blur(Image.fromarray(noisy()), [2 * radius + 1] * 2, [sigma] * 2))
        assert np.abs(filters.dda_gaussian_blur(noisy(), sigma, radius).astype(int) - slow).max() <= 1
        assert (filters.dda_gaussian_blur(noisy(), sigma, radius) != slow).mean() < 1e-3  # ties in float32


@pytest.mark.parametrize(
    ("angle", "dot", "cells", "value"),
    [
        (0, 50, [(2, 0), (2, 1), (2, 2), (2, 3), (2, 4)], 10),
        (30, 50, [(1, 0), (2, 1), (2, 2), (2, 3), (3, 4)], 10),
        (45, 250, [(1, 1), (2, 2), (3, 3)], 83),
        (60, 50, [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3)], 10),
        (90, 50, [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)], 10),
        (120, 50, [(0, 3), (1, 2), (2, 2), (3, 2), (4, 1)], 10),
    ],
)
def test_dda_motion_of_a_dot(angle, dot, cells, value):
    out = filters.dda_motion_blur(spot() // 255 * np.uint8(dot), 5, angle)[13:18, 13:18, 1]
    # A dot spreads as the kernel turned by half a turn, which is the kernel.
    assert sorted(zip(*map(list, np.nonzero(out)), strict=True)) == cells
    assert set(out[out > 0]) == {value}


def test_dda_motion_mirrors_without_the_edge():
    image = noisy()
    padded = np.pad(image[..., 0].astype(float), 2, mode="reflect")
    expected = np.rint(sum(padded[2:-2, c : c + 37] for c in range(5)) / 5)
    assert np.array_equal(filters.dda_motion_blur(image, 5, 0)[..., 0], expected)


STEP = np.full((40, 32, 3), 50, np.uint8)
STEP[:, 16:] = 200


def test_sharpened_step_by_hand():
    out = filters.sharpen(STEP, 2)[20, :, 0].tolist()
    assert out[:16] == [50, 50, 50, 50, 49, 49, 49, 49, 48, 45, 40, 30, 13, 0, 0, 0]
    assert out[16:25] == [255, 255, 255, 236, 219, 209, 204, 201, 200]


def test_sharpen_is_the_unsharp_formula_cut_off():
    image = noisy() // 3 + 80
    blurred = convolve(image[..., 0].astype(float), bell(3, 12), mode="mirror")
    expected = np.clip(image[..., 0] + 0.5 * (image[..., 0] - blurred), 0, 255)
    assert bell(3, 12)[12].sum() == pytest.approx(0.132985, abs=1e-6)
    assert np.abs(filters.sharpen(image, 0.5)[..., 0] - (expected - 0.5)).max() <= 0.501


IMAGE = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.mark.parametrize("quality", [4, 65, 96])
def test_jpeg_is_pillows_round_trip(quality):
    buffer = BytesIO()
    Image.fromarray(IMAGE).save(buffer, format="JPEG", quality=quality)
    assert np.array_equal(filters.jpeg(IMAGE, quality), np.asarray(Image.open(BytesIO(buffer.getvalue()))))


def test_a_pixel_mix_by_hand():
    real, fake = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), 200, np.uint8)
    assert (pixel_mix(real, fake, 0.25) == 125).all()
    assert (dct_mix(real, fake, 0.25) == 175).all()  # the share is the real's
    assert (pixel_mix(real, fake, 0.0) == real).all()
    assert (dct_mix(real, fake, 0.0) == fake).all()


@pytest.mark.parametrize(
    ("share", "in_pixels", "by_dct"),
    [
        (0.25, (175, 12, 77), (125, 18, 78)),
        (0.37, (163, 14, 77), (137, 17, 78)),
        (0.8, (120, 18, 77), (180, 12, 77)),
    ],
)
def test_one_mix_is_truncated_and_the_other_rounded(share, in_pixels, by_dct):
    real, fake = (np.full((8, 8, 3), color, np.uint8) for color in ((200, 10, 77), (100, 21, 78)))
    assert (pixel_mix(real, fake, share) == in_pixels).all()
    assert (dct_mix(real, fake, share) == by_dct).all()


@pytest.mark.parametrize("share", [0.0, 0.37, 0.8])
def test_a_dct_mix_is_that_of_the_transforms(share):
    real, fake = crops(2, 40, 56)
    first, second = (dctn(image.astype(float), axes=(0, 1), norm="ortho") for image in (real, fake))
    slow = np.rint(np.clip(idctn(share * first + (1 - share) * second, axes=(0, 1), norm="ortho"), 0, 255))
    assert np.abs(slow - dct_mix(real, fake, share)).max() <= 1  # where half a level is rounded either way
    assert (slow != dct_mix(real, fake, share)).mean() < 0.02


def test_a_pixel_mix_is_half_a_level_darker():
    real, fake = crops(2, 64, 64)
    assert dct_mix(real, fake, 0.4).mean() == pytest.approx(0.6 * fake.mean() + 0.4 * real.mean(), abs=0.05)
    assert pixel_mix(real, fake, 0.61).mean() == pytest.approx(0.61 * fake.mean() + 0.39 * real.mean() - 0.5, abs=0.05)


def test_quality_alignment():
    fake = crops(1, 48, 48)[0]
    assert (match_jpeg_quality(fake, 100) == fake).all()
    assert (match_jpeg_quality(fake, 70) == jpeg(fake, 70)).all()
    assert (match_jpeg_quality(fake, None) == jpeg(fake, 96)).all()
    errors = [np.abs(match_jpeg_quality(fake, quality).astype(int) - fake).mean() for quality in (95, 70, 40)]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_matched_details_have_the_energy_of_the_real_image_in_each_quarter():
    real = crops(1, 128, 128)[0]
    fake = gaussian_blur(real, 0.8)
    matched = match_local_energy(fake, real)

    def energy(image):
        quarters = image.astype(float).mean(axis=2).reshape(2, 64, 2, 64).swapaxes(1, 2)
        return np.square(np.diff(quarters, axis=3)).mean(axis=(2, 3))

    assert (energy(fake) < 0.6 * energy(real)).all()
    np.testing.assert_allclose(energy(matched), energy(real), rtol=0.15)
    assert np.abs(match_local_energy(real, real).astype(int) - real).max() <= 1
    gray = np.repeat(real[..., :1], 3, axis=2)
    for match in (match_local_energy, match_laplacian):
        assert not has_color(match(gaussian_blur(gray, 1), gray))


@pytest.mark.parametrize("deviation", [7, 14, 20])
def test_the_laplacian_of_the_luma_matches_whatever_the_channels_do(deviation):
    """Independent details of three channels have less energy in their luma than the real image's, which agree."""
    rng, base = np.random.default_rng(0), 128 + 40 * np.sin(np.arange(96) / 9)[:, None, None]
    real = to_levels(base + 14 * rng.standard_normal((96, 96, 1)) * np.ones(3))
    fake = match_local_energy(to_levels(base + deviation * rng.standard_normal((96, 96, 3))), real)

    def energy(image):
        return laplacian_energy(np.asarray(Image.fromarray(image).convert("L")))

    assert energy(fake) < 0.55 * energy(real)
    assert energy(match_laplacian(fake, real)) == pytest.approx(energy(real), rel=0.05)
    flat = np.full_like(real, 9)
    assert (match_laplacian(flat, real) == flat).all()


def to_levels(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
