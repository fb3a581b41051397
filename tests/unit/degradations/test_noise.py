"""Each noise on a flat picture: its measured mean and variance against the formula."""

import numpy as np
import pytest

from aigid.degradations import filters

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
