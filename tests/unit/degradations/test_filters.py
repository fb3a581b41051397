"""Blurs, noise and compression against their formulas and independent implementations."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import convolve, median_filter

from aigid.degradations import filters
from aigid.degradations.filters import dct_mix, gaussian_blur, jpeg, match_jpeg_quality, match_local_energy, pixel_mix
from aigid.images import has_color
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


def test_truncated_gaussian_has_the_stated_taps_and_repeats_the_edge():
    expected = np.pad(np.rint(255 * bell(2, 4)), 11)  # 2 ceil(2 sigma) + 1 = 9 taps
    assert np.array_equal(filters.truncated_gaussian_blur(spot(), 2)[..., 0], expected)
    reference = convolve(noisy()[..., 2] / 255, bell(2, 4), mode="nearest")
    assert np.abs(filters.truncated_gaussian_blur(noisy(), 2)[..., 2] - 255 * reference).max() <= 0.501


def test_disk_of_radius_one_by_hand():
    rim, corner = 0.5, 1.5 - 2**0.5
    expected = np.array([[corner, rim, corner], [rim, 1, rim], [corner, rim, corner]])
    assert np.allclose(filters.disk(1), expected / (3 + 4 * corner), atol=1e-6)


@pytest.mark.parametrize("radius", [1, 4, 8, 2.3])
def test_disk_covers_about_its_area(radius):
    kernel = filters.disk(radius)
    assert kernel.sum() == pytest.approx(1)
    assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.2 / radius)


def test_lens_blur_agrees_with_direct_convolution():
    reference = convolve(noisy()[..., 0] / 255, filters.disk(3), mode="nearest")
    assert np.abs(filters.lens_blur(noisy(), 3)[..., 0] - 255 * reference).max() <= 0.501


def test_lines_by_hand():
    row = np.zeros((5, 5))
    row[2] = 0.2
    assert np.allclose(filters.line(2, 0), row, atol=1e-6)
    assert np.allclose(filters.line(2, 90), row.T, atol=1e-6)
    assert np.allclose(filters.line(3, 30), filters.line(3, 210), atol=1e-6)
    rising = filters.line(3, 45)  # angles turn counter-clockwise: from lower left to upper right
    assert rising[1, 5] == pytest.approx(rising.max())
    assert rising[5, 5] == 0


def test_motion_blur_averages_along_the_line_only():
    stripes = np.zeros((20, 20, 3), np.uint8)
    stripes[::2] = 200
    assert np.array_equal(filters.motion_blur(stripes, 4, 0), stripes)
    assert not np.array_equal(filters.motion_blur(stripes, 4, 90), stripes)


def test_median_blur_agrees_with_scipy():
    assert np.array_equal(filters.median_blur(noisy(), 3)[1:-1, 1:-1], median_filter(noisy(), (3, 3, 1))[1:-1, 1:-1])


def test_sharpen_is_the_unsharp_formula():
    image = noisy() // 3 + 80
    blurred = convolve(image[..., 0].astype(float), bell(3, 12), mode="reflect")
    expected = np.clip(image[..., 0] + 0.5 * (image[..., 0] - blurred), 0, 255)
    assert np.abs(filters.sharpen(image, 0.5)[..., 0] - expected).max() <= 0.501


IMAGE = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.mark.parametrize("quality", [4, 65, 96])
def test_jpeg_is_pillows_round_trip(quality):
    buffer = BytesIO()
    Image.fromarray(IMAGE).save(buffer, format="JPEG", quality=quality)
    assert np.array_equal(filters.jpeg(IMAGE, quality), np.asarray(Image.open(BytesIO(buffer.getvalue()))))


@pytest.mark.parametrize("colors", [128, 16])
def test_gif_quantization_leaves_that_many_colors(colors):
    distinct = np.unique(filters.gif_quantization(IMAGE, colors).reshape(-1, 3), axis=0)
    assert colors / 2 < len(distinct) <= colors


def test_ringing_removes_a_faint_wave_and_keeps_a_strong_one():
    # A cosine of the DCT basis with amplitude a has the single orthonormal coefficient a * 8 / sqrt(2).
    wave = np.cos(np.pi * (2 * np.arange(8) + 1) * 3 / 16)
    threshold = 0.1 * 8 / 2**0.5

    def ring(amplitude: float) -> np.ndarray:
        row = np.rint(255 * (0.5 + amplitude * wave)).astype(np.uint8)
        return np.broadcast_to(row[None, :, None], (8, 8, 3)), filters.ringing(
            np.tile(row[None, :, None], (8, 1, 3)), threshold
        )

    faint, gone = ring(0.09)
    assert np.ptp(faint) > 40
    assert np.ptp(gone) == 0
    strong, kept = ring(0.2)
    assert np.abs(kept.astype(int) - strong).max() <= 1


LEVEL = 0.4  # 102 of 255
FLAT = np.full((300, 300, 3), 102, np.uint8)


def residual(operator, parameter: float) -> np.ndarray:
    return operator(FLAT, parameter, np.random.default_rng(3)) / 255 - LEVEL


@pytest.mark.parametrize(
    ("operator", "parameter", "variance"),
    [
        (filters.white_noise, 0.005, 0.005),
        (filters.poisson, 60, LEVEL / 60),
        (filters.speckle, 0.05, 0.05 * LEVEL**2),
        (filters.iso, 6400, (LEVEL * 156.25 + 9) / 156.25**2),  # 10,000 electrons at ISO 100 leave 156.25 at ISO 6400
        (filters.film_grain, 0.05, 0.05**2),
    ],
)
def test_noise_has_the_stated_variance_and_no_bias(operator, parameter, variance):
    measured = residual(operator, parameter)
    assert measured.var() == pytest.approx(variance, rel=0.02)
    assert abs(measured.mean()) < 0.002


def test_film_grain_is_grey_and_wider_than_a_pixel():
    grain = residual(filters.film_grain, 0.05)
    assert np.array_equal(grain[..., 0], grain[..., 2])
    assert np.corrcoef(grain[:, :-1, 0].ravel(), grain[:, 1:, 0].ravel())[0, 1] > 0.5


def test_white_noise_is_independent_between_channels_and_neighbours():
    values = residual(filters.white_noise, 0.005)
    assert abs(np.corrcoef(values[..., 0].ravel(), values[..., 1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.02


def test_impulse_is_half_salt_half_pepper_and_leaves_the_rest():
    noisy = filters.impulse(FLAT, 0.03, np.random.default_rng(0))
    assert (noisy == 0).mean() == pytest.approx(0.015, rel=0.05)
    assert (noisy == 255).mean() == pytest.approx(0.015, rel=0.05)
    assert set(np.unique(noisy)) == {0, 102, 255}


def test_pepper_blackens_whole_pixels():
    noisy = filters.pepper(FLAT, 0.1, np.random.default_rng(0))
    black = (noisy == 0).any(axis=2)
    assert black.mean() == pytest.approx(0.1, rel=0.05)
    assert (noisy[black] == 0).all()
    assert (noisy[~black] == 102).all()


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
    assert not has_color(match_local_energy(gaussian_blur(gray, 1), gray))
