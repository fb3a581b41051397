"""A screen photographed: its corners, its beat and its tone, by hand; and chains of what hides a forgery."""

import numpy as np
import pytest

from aigid.degradations import edits, policies, views

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_perspective_cuts_a_share_of_the_upper_and_right_edge():
    """A ramp of columns and one of rows say where each corner of the result was looked at."""
    y, x = np.indices((100, 200))
    ramps = np.stack([x, 2 * y, 0 * x], axis=2).astype(np.uint8)
    corners = edits.perspective(ramps, 0.1)[[1, 1, -2, -2], [1, -2, -2, 1]].astype(int)
    expected = np.array([(20, 0), (180, 20), (199, 199), (0, 180)])  # of the row ramp twice the row
    assert np.abs(corners[:, :2] - expected).max() <= 5


def test_moire_is_the_alias_of_the_screens_stripes():
    """Stripes of 1.25 px are 0.8 a pixel, which samples one a pixel show as 0.2: a period of five."""
    flat = np.full((10, 40, 3), 0.5, np.float32)
    red, green, blue = np.moveaxis(edits.moire(flat, 0.2, 1.25, 0)[3], 1, 0)
    x = np.arange(40)
    assert red == pytest.approx(0.5 + 0.1 * np.cos(2 * np.pi * 0.8 * x), abs=1e-5)
    assert green == pytest.approx(0.5 + 0.1 * np.cos(2 * np.pi * (-0.2 * x + 1 / 3)), abs=1e-5)
    assert blue[:35] == pytest.approx(blue[5:], abs=1e-5)


def test_gamma_is_a_power():
    assert edits.gamma(np.full((1, 1, 3), 0.25, np.float32), 0.5)[0, 0] == pytest.approx([0.5] * 3)


@pytest.mark.parametrize("name", policies.QUERY_FREE)
def test_what_hides_a_forgery_is_the_same_for_equal_content(name):
    first, again, other = (views.apply(name, IMAGE, digest * 64, 0)[0] for digest in "aab")
    assert np.array_equal(first, again)
    assert not (first.shape == IMAGE.shape and np.array_equal(first, IMAGE))
    assert np.array_equal(first, other) == (name != "recapture")  # which has noise
