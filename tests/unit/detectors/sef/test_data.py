"""Lessons: what a pair becomes, that its members go through the same, and that chance comes from the key alone."""

import numpy as np
import pytest

from aigid.core import params, seeding
from aigid.core.errors import InputError
from aigid.degradations.filters import match_jpeg_quality
from aigid.detectors.sef import data
from aigid.detectors.sef.settings import ExpertSettings, SamplingSettings

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
    np.testing.assert_array_equal(made, lesson(settings))
    assert (lesson(settings, ("0", 1, "a")) != made).any()
    assert (lesson(settings, ("0", 0, "b")) != made).any()


def test_a_pairs_photographs_come_first():
    settings = SamplingSettings(policy="ufd", **PLAIN)
    assert data.labels(2, settings).tolist() == [0, 0, 0, 1, 1, 1] * 2
    black, white = np.zeros_like(REAL), np.full_like(REAL, 255)
    made = data.make_batch(black, white, None, settings, 24, ("0", 0, "a"))
    assert made.max(axis=(1, 2, 3)).tolist() == [0, 0, 0, 255, 255, 255]


@pytest.mark.parametrize("policy", ["dda", "ntire_train", "featdistill_extra"])
def test_all_members_share_crop_scale_and_augmentation(policy):
    """Two equal members stay equal whatever is drawn, noise included."""
    settings = SamplingSettings(policy=policy, **PLAIN)
    for number in range(30):
        made = lesson(settings, ("0", number, "a"), fake=REAL)
        np.testing.assert_array_equal(made[:3], made[3:])


def test_members_of_another_size_take_the_same_decisions(monkeypatch):
    """All six get the same operators with the same parameters, on the whole image, and chance of one seed."""
    seen = []

    def watched(operators, image, rng):
        seen.append((operators, image.shape[:2], rng.random()))
        return image

    monkeypatch.setattr(data, "apply_operators", watched)
    lesson(SamplingSettings(), size=24)
    assert len(seen) == 6
    assert len({str(operators) for operators, _, _ in seen}) == len({chance for *_, chance in seen}) == 1
    shapes = [shape for _, shape, _ in seen]
    assert shapes[:3] == shapes[3:]
    assert shapes[0] == (40, 56)
    assert len(set(shapes)) == 3


def test_padding_stays_black_as_augmentation_comes_first():
    settings = SamplingSettings(scales=(), **PLAIN)
    for number in range(60):
        made = lesson(settings, ("0", number, "a"), size=80, fake=REAL)
        inside = made[:, 20:60, 12:68].copy()
        made[:, 20:60, 12:68] = 0
        assert made.sum() == 0
        assert inside.mean() > 20


def test_without_scales_and_augmentation_it_is_one_crop():
    pair = [data.random_crop(image, 32, np.random.default_rng(5)) for image in (REAL, FAKE)]
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


@pytest.mark.parametrize(
    ("width", "height", "left", "top", "right", "bottom"),
    [(640, 300, 0, 18, 0, 18), (331, 200, 2, 68, 3, 68), (100, 101, 118, 117, 118, 118), (335, 336, 0, 0, 1, 0)],
)
def test_padding_is_that_of_the_released_code(width, height, left, top, right, bottom):
    white = np.full((height, width, 3), 255, np.uint8)
    padded = data.random_crop(white, 336, np.random.default_rng(0))
    rows, columns = (np.flatnonzero(padded.any(axis=(axis, 2))) for axis in (1, 0))
    assert (rows[0], 335 - rows[-1], columns[0], 335 - columns[-1]) == (top, bottom, left, right)
    assert set(np.unique(padded)) == {0, 255}


@pytest.mark.parametrize(("factor", "size"), [(0.2, (85, 128)), (0.517, (220, 330)), (3.5, (1494, 2240))])
def test_sizes_are_truncated(factor, size):
    assert data.resize(np.zeros((427, 640, 3), np.uint8), factor, data.FILTERS[0]).shape == (*size, 3)


def test_two_scales_have_two_different_filters(monkeypatch):
    used = []
    monkeypatch.setattr(data, "resize", lambda image, factor, kind: used.append(kind) or image)
    for number in range(300):
        lesson(SamplingSettings(), ("0", number, "a"))
    drawn = np.array(used).reshape(-1, 2, 2)  # pair, scale, member
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (drawn[:, 0, 0] != drawn[:, 1, 0]).all()
    assert len({tuple(kinds) for kinds in drawn[..., 0].tolist()}) == 30


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
    assert low - 1.01 <= min(left) < low + 1.5
    assert high - 1.5 < max(left) <= high + 0.51


def test_quality_is_the_photographs():
    settings = SamplingSettings(**PLAIN | {"quality": 1.0})
    rng = seeding.numpy_generator("x")
    np.testing.assert_array_equal(data.augment_fake(REAL, FAKE, 70, settings, rng), match_jpeg_quality(FAKE, 70))
    half = SamplingSettings(**PLAIN | {"quality": 0.5})
    acted = [(data.augment_fake(REAL, FAKE, 70, half, np.random.default_rng(k)) != FAKE).any() for k in range(200)]
    assert 0.4 < np.mean(acted) < 0.6


def test_mixes_come_alone_together_and_in_both_orders(monkeypatch):
    """None .64, either alone .16, both .02 an order."""
    acts = []
    monkeypatch.setattr(data, "pixel_mix", lambda real, fake, share: acts.append("p") or fake)
    monkeypatch.setattr(data, "dct_mix", lambda real, fake, share: acts.append("d") or fake)
    settings, counts = SamplingSettings(quality=0.0), dict.fromkeys(("", "p", "d", "pd", "dp"), 0)
    for number in range(3000):
        acts.clear()
        data.augment_fake(REAL, FAKE, None, settings, np.random.default_rng(number))
        counts["".join(acts)] += 1
    found = {name: count / 3000 for name, count in counts.items()}
    assert found == pytest.approx({"": 0.64, "p": 0.16, "d": 0.16, "pd": 0.02, "dp": 0.02}, abs=0.025)
    assert min(counts.values()) > 30


def test_records_and_scales_that_are_none_are_one_line(tmp_path):
    for text in ('{"real": "train/real/a.png"', '{"real": "train/real/a.png"}', "[1]"):
        (tmp_path / "aligned.jsonl").write_text(text + "\n")
        with pytest.raises(InputError, match=r"aligned\.jsonl: not a record of pairs"):
            data.open_pairs(tmp_path)
    with pytest.raises(InputError, match=r"want factors from low to high, found 3\.5 to 1"):
        params.validate({"scales": [[3.5, 1.0]]}, SamplingSettings, "sampling")


@pytest.mark.parametrize("values", [{"contrastive_batch_size": 3}, {"batch_size": 7}, {"contrastive_batch_size": 16}])
def test_what_the_contrastive_loss_compares_divides_the_batch(values):
    """The default, too, where only the batch is given."""
    size, compared = values.get("batch_size", 8), values.get("contrastive_batch_size", 2)
    said = rf"^sef\.expert\.contrastive_batch_size: .*does not divide batch_size={size}, got {compared}$"
    with pytest.raises(InputError, match=said):
        params.validate(values, ExpertSettings, "sef.expert")
