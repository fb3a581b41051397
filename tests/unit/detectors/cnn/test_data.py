"""The side channels against NumPy in float64, and on images whose spectrum can be written down."""

import numpy as np
import pytest

from aigid.detectors.cnn import data

S = 32


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def test_a_constant_image_has_its_mean_alone():
    found = data.log_magnitude_spectrum(grey(np.full((S, S), 100)))
    expected = np.zeros((S, S), np.uint8)
    expected[S // 2, S // 2] = int(20 * np.log(100 * S * S))  # 230; elsewhere 20 ln 1e-8 < 0
    np.testing.assert_array_equal(found, expected)


def test_a_sinusoid_has_two_peaks():
    wave = np.round(128 + 64 * np.cos(2 * np.pi * 4 * np.arange(S) / S))
    found = data.log_magnitude_spectrum(grey(np.tile(wave, (S, 1))))
    peaks = {(S // 2, S // 2), (S // 2, S // 2 + 4), (S // 2, S // 2 - 4)}
    brightest = {tuple(map(int, place)) for place in np.argwhere(found >= np.sort(found.ravel())[-3])}
    assert brightest == peaks
    assert found[S // 2, S // 2 + 4] == pytest.approx(20 * np.log(32 * S * S), abs=1.0)


def test_a_checkerboard_has_its_corner():
    board = 255 * (np.indices((S, S)).sum(axis=0) % 2)
    found = data.log_magnitude_spectrum(grey(board))
    assert {tuple(map(int, place)) for place in np.argwhere(found)} == {(0, 0), (S // 2, S // 2)}
    assert found[0, 0] == found[S // 2, S // 2] == int(20 * np.log(255 * S * S / 2))


@pytest.mark.parametrize("size", [32, 33])
def test_spectrum_equals_a_slow_transform(size):
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    luma = data.luma(image).astype(np.float64)
    np.testing.assert_allclose(luma, image @ [0.299, 0.587, 0.114], atol=1)
    turn = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
    levels = 20 * np.log(np.abs(np.fft.fftshift(turn @ luma @ turn.T)) + 1e-8)
    np.testing.assert_allclose(data.log_magnitude_spectrum(image), np.clip(levels, 0, 255), atol=1.01)


def test_beyond_8_bits_it_is_clipped_or_wraps():
    image = grey(np.full((512, 512), 200))
    level = int(20 * np.log(200 * 512 * 512))
    assert level > 255
    assert data.log_magnitude_spectrum(image)[256, 256] == 255
    assert data.log_magnitude_spectrum(image, wrap=True)[256, 256] == level - 256


def test_error_equals_a_reference():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    remade = rng.uniform(-1.2, 1.2, (8, 8, 3)).astype(np.float32)
    e = np.abs(image.astype(np.float64) / 127.5 - 1 - remade)
    expected = (np.clip(e / 2, 0, 1) * 255) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(data.reconstruction_error(image, remade), expected, atol=1.6)
    legacy = data.reconstruction_error(image, remade, offset=True)
    assert legacy.min() >= 127
    assert (legacy[e.min(axis=2) >= 1] >= 254).all()
    exact = data.reconstruction_error(image, (image / 127.5 - 1).astype(np.float32))
    assert exact.max() == 0
