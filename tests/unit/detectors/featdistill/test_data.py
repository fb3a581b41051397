"""What an expert is shown depends on stage, seed, epoch and image alone; a clean view is of the same crop."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.params import validate
from aigid.degradations.operators import GEOMETRIC
from aigid.degradations.policies import POLICIES, apply_policy
from aigid.detectors.featdistill import data
from aigid.detectors.featdistill.data import TrainDataset
from aigid.detectors.featdistill.settings import DataSettings, FeatDistillSettings, OptimizerSettings, Stage2Settings
from aigid.features.preprocess import MEAN_STD_05, Preprocess

HOW = Preprocess(size=16, mean=MEAN_STD_05, std=MEAN_STD_05)


def of(images, root, seed=0, stage=1, second="clean", **settings):
    return TrainDataset(images, root, DataSettings(**settings), HOW, seed, stage, second=second)


def test_neither_order_nor_workers_change_an_image(images, root, monkeypatch):
    shown = of(images, root)
    places = np.arange(len(images))
    monkeypatch.setenv("AIGID_WORKERS", "1")
    one = shown.take(0, places)
    monkeypatch.setenv("AIGID_WORKERS", "4")
    other = shown.take(0, places[::-1])
    for view in ("second", "degraded", "y"):
        np.testing.assert_array_equal(getattr(one, view), getattr(other, view)[::-1])
    shuffled = of(images.iloc[::-1].reset_index(drop=True), root).take(0, places)
    np.testing.assert_array_equal(one.degraded, shuffled.degraded[::-1])


def test_epochs_and_seeds_change_it(images, root):
    places = np.arange(len(images))
    first = of(images, root).take(0, places).degraded
    assert (first != of(images, root).take(1, places).degraded).any()
    assert (first != of(images, root, seed=1).take(0, places).degraded).any()


@pytest.mark.parametrize(
    "alone",
    [{"crop": "inference", "hflip": False}, {"policy": None, "hflip": False}, {"policy": None, "crop": "inference"}],
    ids=["degradation", "crop", "flip"],
)
def test_stage_2_repeats_no_draw_of_stage_1(alone, images, root):
    """Almost every image is another under what is sampled for it; a flip of two kinds is the same for a half."""
    places = np.arange(len(images))
    first, again, second = (of(images, root, stage=stage, **alone).take(0, places).degraded for stage in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any(axis=(1, 2, 3)).mean() > 0.25


def test_without_a_policy_a_clean_view_is_the_degraded_one(images, root):
    batch = of(images, root, policy=None).take(0, np.arange(len(images)))
    np.testing.assert_array_equal(batch.second, batch.degraded)
    assert len({view.tobytes() for view in batch.degraded}) == len(images)


def test_a_view_that_nobody_looks_at_is_not_made(images, root, monkeypatch):
    """Neither cut out nor degraded; what is made is the same with it or without."""
    calls, crop = [], data.crop_and_resize
    monkeypatch.setattr(data, "crop_and_resize", lambda *given: calls.append(1) or crop(*given))
    places = np.arange(6)
    for second, views in ((None, 1), ("clean", 2), ("augmented", 2)):
        calls.clear()
        batch = of(images, root, second=second).take(0, places)
        assert len(calls) == views * len(places)
        assert (batch.second is None) == (second is None)
        np.testing.assert_array_equal(batch.degraded, of(images, root, second=None).take(0, places).degraded)


@pytest.mark.parametrize("alone", [{"crop": "inference"}, {"policy": None}], ids=["degradation", "crop"])
def test_an_augmented_view_is_a_draw_of_its_own(alone, images, root):
    """Not the first view, not the first view of another epoch, and another in each epoch."""
    batches = [
        of(images, root, second="augmented", hflip=False, **alone).take(epoch, np.arange(12)) for epoch in (0, 1)
    ]
    views = [view for batch in batches for view in (batch.degraded, batch.second)]
    for k, view in enumerate(views):
        assert all((view != other).any(axis=(1, 2, 3)).mean() > 0.5 for other in views[:k])


def test_what_the_teacher_sees_follows_from_the_stage():
    second = {
        (mode, view): Stage2Settings(mode=mode, teacher_view=view).second
        for mode in ("l2", "crd_ema", "none")
        for view in ("clean", "same")
    }
    assert second.pop(("l2", "clean")) == "clean"
    assert {second.pop(("crd_ema", view)) for view in ("clean", "same")} == {"augmented"}
    assert set(second.values()) == {OptimizerSettings().second} == {None}


def test_crop_and_mirror_are_the_same_for_both_views(tmp_path):
    """An image whose colour tells its place, under a policy that only changes colours a little."""
    ramp = np.zeros((40, 60, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(60)[None] * 4, np.arange(40)[:, None] * 6
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    digest = hashlib.sha256((tmp_path / "ramp.png").read_bytes()).hexdigest()
    table = pd.DataFrame({"path": ["ramp.png"], "label": [0], "sha256": [digest]})
    shown = TrainDataset(table, tmp_path, DataSettings(policy="ufd"), HOW, 0, 2, aligned=True, second="clean")
    pairs = [shown.views(epoch, 0) for epoch in range(12)]
    for degraded, clean in pairs:
        assert abs(clean[4:-4, 4:-4].astype(int) - degraded[4:-4, 4:-4]).mean() < 6
    turned = {bool(clean[8, 0, 0] > clean[8, -1, 0]) for _, clean in pairs}
    assert turned == {False, True}


def test_the_policys_shares():
    """0.8 of the images, half of those by the extra operators; at most three, none that moves a pixel if aligned."""
    image = np.zeros((4, 4, 3), np.uint8)
    drawn = [apply_policy("featdistill", image, np.random.default_rng(n), GEOMETRIC)[1] for n in range(1500)]
    acted = [it for it in drawn if it]
    assert len(acted) / 1500 == pytest.approx(0.8, abs=0.04)
    assert {len(it) for it in acted} == {1, 2, 3}
    assert not {step["operator"] for it in acted for step in it} & GEOMETRIC


def test_the_crop_may_be_degraded_in_place_of_the_image(images, root):
    numbers = np.arange(len(images))
    whole, crop = (of(images, root, degrade=kind, hflip=False).take(0, numbers) for kind in ("image", "crop"))
    np.testing.assert_array_equal(whole.second, crop.second)
    assert (whole.degraded != crop.degraded).any()
    for number, digest in enumerate(images["sha256"]):
        rng = seeding.numpy_generator("degrade", "stage 1", 0, 0, digest)
        np.testing.assert_array_equal(crop.degraded[number], apply_policy("featdistill", crop.second[number], rng)[0])


def test_operators_are_held_out(images, root):
    held_out = [name for name in POLICIES["featdistill_basic"].operators() if name != "darken"]
    dataset = of(images, root, policy="featdistill_basic", held_out_operators=held_out, degrade="crop")
    batch = dataset.take(0, np.arange(len(images)))
    assert (batch.degraded <= batch.second).all()
    assert (batch.degraded < batch.second).any()


def test_unknown_operators_are_refused_with_those_near_them():
    with pytest.raises(ValueError, match="unknown operator 'impulse' of featdistill; near it: impulsenoise"):
        DataSettings(held_out_operators=["impulse"])
    with pytest.raises(ValueError, match="no policy to hold them out of"):
        DataSettings(policy=None, held_out_operators=["jpeg"])
    expert = {"backbone": "tiny_clip", "seed": 0}
    moved = {"policy": "ntire_train", "held_out_operators": [*set(POLICIES["ntire_train"].operators()) - {"jitter"}]}
    with pytest.raises(ValidationError, match="no operator is left without"):  # in stage 2, before stage 1 is trained
        FeatDistillSettings(dataset="d", experts={"a": expert}, data=moved)
    FeatDistillSettings(dataset="d", experts={"a": expert}, data=moved, stage2={"preserve_spatial_alignment": False})
    with pytest.raises(ValueError, match="no operator is left"):
        DataSettings(policy="ufd", held_out_operators=["gaussian_blur", "jpeg"])


def test_boxes_keep_their_promise():
    draw = np.random.default_rng(0)
    for height, width in ((50, 80), (300, 20), (1, 1), (7, 9)):
        for _ in range(50):
            box = data.random_box(height, width, 0.5, draw)
            assert 0 <= box.left <= box.left + box.width <= width
            assert 0 <= box.top <= box.top + box.height <= height
            if (height, width) == (50, 80):
                assert box.width * box.height >= 0.5 * 50 * 80 * 0.97
                assert 0.7 < box.width / box.height < 1.4


def test_the_long_side_is_capped():
    assert data.limit_long_side(np.zeros((100, 400, 3), np.uint8), 200).shape == (50, 200, 3)
    small = np.zeros((10, 20, 3), np.uint8)
    assert data.limit_long_side(small, 200) is small


def test_inference_crop_is_the_backbones(images, root):
    shown = of(images, root, policy=None, crop="inference", hflip=False)
    pixels = np.asarray(Image.open(root / images["path"][0]))
    expected = np.asarray(Image.fromarray(pixels).resize((19, 16), Image.BICUBIC))[:, 2:18]
    np.testing.assert_array_equal(shown.views(0, 0)[0], expected)


def test_rows_are_half_of_either_class(images):
    one = data.select_rows(images, "train", 10, 0)
    assert one["label"].tolist().count(0) == 5 == one["label"].tolist().count(1)
    assert len(data.select_rows(images, "train", None, 0)) == 24
    with pytest.raises(InputError, match="no image of label 1"):
        data.select_rows(images[images["label"] == 0], "train", None, 0)


@pytest.mark.parametrize("name", ["max_images", "max_val_images"])
def test_one_image_is_not_of_both_classes(name):
    with pytest.raises(InputError, match=rf"^data\.{name}: .* greater than or equal to 2, got 1$"):
        validate({name: 1}, DataSettings, "data")


def test_an_unreadable_image_is_named(images, root, tmp_path):
    table = images.assign(path="absent.png")
    with pytest.raises(InputError, match=r"absent.png: .*training needs every image"):
        of(table, tmp_path).views(0, 0)
