import numpy as np
import pytest
from scipy.ndimage import convolve, median_filter

from aigid.degradations import filters


def impulse(side: int = 31) -> np.ndarray:
    image = np.zeros((side, side, 3), np.uint8)
    image[side // 2, side // 2] = 255
    return image


def noise(height: int = 24, width: int = 37) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bell(sigma: float, radius: int) -> np.ndarray:
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return np.outer(weights, weights) / weights.sum() ** 2


@pytest.mark.parametrize(("sigma", "radius"), [(1.0, None), (2.0, None), (1.1, 2)])
def test_gaussian_blur_of_an_impulse_is_the_gaussian(sigma, radius):
    reach = radius or int(4 * sigma + 0.5)
    expected = np.pad(np.rint(255 * bell(sigma, reach)), 15 - reach)
    assert np.array_equal(filters.gaussian_blur(impulse(), sigma, radius)[..., 1], expected)


def test_gaussian_blur_of_zero_is_the_image():
    assert np.array_equal(filters.gaussian_blur(noise(), 0.0), noise())


def test_truncated_gaussian_has_the_stated_taps_and_repeats_the_edge():
    expected = np.pad(np.rint(255 * bell(2, 4)), 11)  # 2 ceil(2 sigma) + 1 = 9 taps
    assert np.array_equal(filters.truncated_gaussian_blur(impulse(), 2)[..., 0], expected)
    reference = convolve(noise()[..., 2] / 255, bell(2, 4), mode="nearest")
    assert np.abs(filters.truncated_gaussian_blur(noise(), 2)[..., 2] - 255 * reference).max() <= 0.501


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
    reference = convolve(noise()[..., 0] / 255, filters.disk(3), mode="nearest")
    assert np.abs(filters.lens_blur(noise(), 3)[..., 0] - 255 * reference).max() <= 0.501


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
    assert np.array_equal(filters.median_blur(noise(), 3)[1:-1, 1:-1], median_filter(noise(), (3, 3, 1))[1:-1, 1:-1])


def test_sharpen_is_the_unsharp_formula():
    image = noise() // 3 + 80
    blurred = convolve(image[..., 0].astype(float), bell(3, 12), mode="reflect")
    expected = np.clip(image[..., 0] + 0.5 * (image[..., 0] - blurred), 0, 255)
    assert np.abs(filters.sharpen(image, 0.5)[..., 0] - expected).max() <= 0.501
