"""Noise by its moments, its worked draws, and what it leaves alone."""

import numpy as np
import pytest
from scipy.stats import norm

from aigid.degradations import filters
from aigid.degradations.pixels import to_float
from tests.helpers.images import crops
from tests.helpers.patterns import close

PHOTO = to_float(crops(1, 40, 56)[0])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(value: float, side: int = 300) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


@pytest.mark.parametrize(
    ("operator", "parameter", "value", "deviation", "clipped"),
    [
        (filters.whitenoise, 0.01, 0.5, 0.1, 0.1003),
        (filters.poisson_noise, 10, 0.3, (0.3 / 10) ** 0.5, 0.1728),
        (filters.speckle_noise, 0.15, 0.5, 0.1936, 0.1912),
        (filters.iso_noise, 6400, 0.5, 0.0894, 0.0894),
        (filters.iso_noise, 400, 0, 0.02, None),
        (filters.iso_noise, 6400, 0, 0.08, None),
        (filters.film_grain, 0.15, 0.5, 0.1288, 0.1288),
        (filters.film_grain, 0.15, 0.1, 0.0464, 0.0456),
    ],
)
def test_deviations_before_and_after_clipping(operator, parameter, value, deviation, clipped):
    out = operator(flat(value), parameter, rng())
    assert out.dtype == np.float32
    assert out.mean() == pytest.approx(value, abs=0.003)
    assert out.std() == pytest.approx(deviation, rel=0.02)
    if clipped:
        assert np.clip(out, 0, 1).std() == pytest.approx(clipped, rel=0.02)


def test_white_noise_is_independent_between_channels_and_pixels():
    out = filters.whitenoise(flat(0.5), 0.01, rng()) - 0.5
    assert abs(np.corrcoef(out[..., 0].ravel(), out[..., 1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(out[:, :-1].ravel(), out[:, 1:].ravel())[0, 1]) < 0.01


def test_impulses_of_the_worked_draw():
    # Three vectors one after the other, of numpy's legacy generator as the source has it.
    legacy = np.random.RandomState(0)
    image = np.full((10, 10, 3), 0.5, np.float32)
    out = filters.set_impulses(image, *(legacy.randint(0, limit, 9) for limit in (3, 10, 10)))
    ones, zeros = (sorted(zip(*map(list, np.nonzero(out.transpose(2, 0, 1) == v)), strict=True)) for v in (1, 0))
    assert ones == [(0, 6, 4), (0, 8, 8), (1, 1, 9), (1, 7, 3)]
    assert zeros == [(0, 1, 5), (0, 9, 2), (1, 7, 0), (2, 5, 0), (2, 8, 3)]
    legacy, image = np.random.RandomState(0), np.full((100, 100, 3), 0.5, np.float32)
    out = filters.set_impulses(image, *(legacy.randint(0, limit, 900) for limit in (3, 100, 100)))
    assert ((out == 1).sum(), (out == 0).sum()) == (445, 447)


def test_impulses_are_half_and_half_of_single_values():
    out = filters.impulsenoise(flat(0.4), 0.03, rng())
    drawn = 1 - np.exp(-0.015)  # with replacement
    assert (out == 0).mean() == pytest.approx(drawn, rel=0.03)
    assert (out == 1).mean() == pytest.approx(drawn, rel=0.05)
    assert ((out != flat(0.4)).sum(axis=2) <= 1).mean() > 0.99
    assert set(np.unique(out)) == {np.float32(0), np.float32(0.4), np.float32(1)}


def test_salt_and_pepper_are_whole_pixels():
    out = filters.salt_and_pepper(flat(0.4, 400), 0.05, rng())
    assert (out == out[..., :1]).all()
    for value in (0, 1):
        assert (out[..., 0] == value).mean() == pytest.approx(0.025, abs=0.0012)


def test_film_grain_of_black_is_clipped():
    out = np.clip(filters.film_grain(flat(0, 500), 0.15, rng()), 0, 1)
    assert out.mean() == pytest.approx(0.0051, abs=0.0002)
    assert out.std() == pytest.approx(0.0075, abs=0.0002)


def test_enlargement_of_four_values_to_six():
    values = np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1)
    close(filters.enlarge(values, 6), ".913195 1.40625 2.212963 2.787037 3.59375 4.086806")
    torch = pytest.importorskip("torch")
    field = rng().standard_normal((28, 39, 3), dtype=np.float32)
    both = filters.enlarge(filters.enlarge(field, 40).swapaxes(0, 1), 56).swapaxes(0, 1)
    tensor = torch.from_numpy(field.transpose(2, 0, 1)[None]).double()
    slow = torch.nn.functional.interpolate(tensor, (40, 56), mode="bicubic", align_corners=False)
    close(both, slow[0].permute(1, 2, 0).numpy(), 1e-5)


def test_gaussian_noise_of_dda_is_cut_off():
    out = filters.gaussian_noise(np.full((300, 300, 3), 128, np.uint8), 55, rng())
    assert out.mean() == pytest.approx(127.64, abs=0.3)
    assert out.std() == pytest.approx(53.94, abs=0.3)
    assert (out == 0).mean() == pytest.approx(norm.cdf((1 - 128) / 55), rel=0.05)


def test_pepper_draws_places_with_replacement():
    out = filters.pepper(np.full((300, 300, 3), 102, np.uint8), 0.1, rng())
    black = (out == 0).any(axis=2)
    assert black.mean() == pytest.approx(1 - np.exp(-0.1), rel=0.03)
    assert (out[black] == 0).all()
    assert (out[~black] == 102).all()
    assert not (filters.pepper(np.full((3, 3, 3), 9, np.uint8), 0.1, rng()) == 0).any()  # int(0.9) places
