"""Lessons: what a pair becomes, that its members go through the same, and that chance comes from the key alone."""

import numpy as np
import pytest

from aigid.core import seeding
from aigid.degradations.filters import match_jpeg_quality
from aigid.detectors.sef import data
from aigid.detectors.sef.settings import SamplingSettings

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
FAKE = np.clip(REAL.astype(int) + 9, 0, 255).astype(np.uint8)
PLAIN = {"quality": 0.0, "pixel_mix": 0.0, "dct_mix": 0.0}


def lesson(settings, key=("0", 0, "a"), size=32, fake=FAKE):
    return data.make_batch(REAL, fake, 80, settings, size, key)


def test_a_pair_becomes_six_images():
    settings = SamplingSettings()
    made = lesson(settings)
    assert made.shape == (6, 32, 32, 3)
    assert made.dtype == np.uint8
    assert data.labels(2, settings).tolist() == [0, 1] * 6
    np.testing.assert_array_equal(made, lesson(settings))
    assert (lesson(settings, ("0", 1, "a")) != made).any()
    assert (lesson(settings, ("0", 0, "b")) != made).any()


@pytest.mark.parametrize("policy", ["dda", "ntire_train", "featdistill_extra"])
def test_all_members_share_crop_scale_and_augmentation(policy):
    """Two equal members stay equal whatever is drawn, noise included."""
    settings = SamplingSettings(policy=policy, **PLAIN)
    for number in range(30):
        made = lesson(settings, ("0", number, "a"), fake=REAL)
        np.testing.assert_array_equal(made[0::2], made[1::2])


def test_without_scales_and_augmentation_it_is_one_crop():
    pair = data.paired_random_crop((REAL, FAKE), 32, np.random.default_rng(5))
    found = [
        (top, left)
        for top in range(9)
        for left in range(25)
        if (REAL[top : top + 32, left : left + 32] == pair[0]).all()
    ]
    assert len(found) == 1
    top, left = found[0]
    np.testing.assert_array_equal(pair[1], FAKE[top : top + 32, left : left + 32])
    assert lesson(SamplingSettings(scales=())).shape == (2, 32, 32, 3)


def test_small_ones_are_padded_with_black_in_the_middle():
    small = REAL[:20, :27]
    (padded,) = data.paired_random_crop((small,), 32, np.random.default_rng(0))
    np.testing.assert_array_equal(padded[6:26, 2:29], small)
    assert padded.sum() == small.sum()


def test_scales_are_drawn_from_their_ranges():
    sides = []
    original = data.resize

    def watched(image, factor, kind):
        sides.append(factor)
        return original(image, factor, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "resize", watched)
        for number in range(40):
            lesson(SamplingSettings(), ("0", number, "a"))
    factors = np.array(sides).reshape(-1, 2, 2)
    np.testing.assert_array_equal(factors[..., 0], factors[..., 1])  # of both members
    for column, (low, high) in enumerate(((0.2, 1.0), (1.0, 3.5))):
        assert low <= factors[:, column].min() < low + 0.2 * (high - low)
        assert high - 0.2 * (high - low) < factors[:, column].max() <= high
    assert original(REAL, 0.001, data.FILTERS[0]).shape == (1, 1, 3)


@pytest.mark.parametrize(("name", "low", "high"), [("pixel_mix", 0, 7.2), ("dct_mix", 1.8, 9)])
def test_mixes_keep_a_share_of_the_fake(name, low, high):
    """The fake is brighter by 9 where nothing is clipped; of it, a share of at most 0.8 stays, or at most is lost."""
    settings = SamplingSettings(**PLAIN | {name: 1.0})
    inner = (REAL > 20) & (REAL < 230)
    left = []
    for number in range(60):
        mixed = data.augment_fake(REAL, FAKE, None, settings, np.random.default_rng(number))
        left.append(float((mixed.astype(int) - REAL)[inner].mean()))
    assert low - 0.51 <= min(left) < low + 1.5
    assert high - 1.5 < max(left) <= high + 0.51


def test_quality_is_the_photographs():
    settings = SamplingSettings(**PLAIN | {"quality": 1.0})
    rng = seeding.numpy_generator("x")
    np.testing.assert_array_equal(data.augment_fake(REAL, FAKE, 70, settings, rng), match_jpeg_quality(FAKE, 70))
    half = SamplingSettings(**PLAIN | {"quality": 0.5})
    acted = [(data.augment_fake(REAL, FAKE, 70, half, np.random.default_rng(k)) != FAKE).any() for k in range(200)]
    assert 0.4 < np.mean(acted) < 0.6
