"""Attacks stay within their radius, push the way they are to, depend on content alone; their table is by hand."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL
from pydantic import ValidationError

from aigid.aligned.generator import TINY
from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.experiments import attack, attack_methods
from aigid.experiments.attack_table import COLUMNS, summarize
from aigid.metrics.intervals import Interval, auroc_intervals, wilson_interval
from aigid.prediction.predict import Predictor
from tests.helpers.probe_bundle import fit_probe

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in ((20, 30, 3), (17, 9, 3), (8, 8, 3))]
DIRECTIONS = np.array([1.0, -1.0, 1.0])
EPSILONS = (1, 2, 4, 8)


def curved(images):
    """A toy logit that is no linear function: of stripes, which a step along one gradient overshoots."""
    return torch.stack(
        [torch.sin(image / 9).mean() + (image[::2].mean() - image[1::2].mean()) / 50 for image in images]
    )


def logits(images):
    return curved([torch.from_numpy(image.astype(np.float32)) for image in images]).numpy()


def test_attacks_stay_within_radius_and_range_and_grow_with_the_radius():
    first, second = (attack_methods.attack(curved, IMAGES, DIRECTIONS, EPSILONS, steps=3) for _ in range(2))
    assert set(first) == {(name, epsilon) for name in ("fgsm", "pgd") for epsilon in EPSILONS}
    gains = {}
    for (name, epsilon), moved in first.items():
        for before, after, again in zip(IMAGES, moved, second[name, epsilon], strict=True):
            assert after.dtype == np.uint8
            assert np.abs(after.astype(int) - before).max() <= epsilon
            assert np.array_equal(after, again)
        gains[name, epsilon] = (logits(moved) - logits(IMAGES)) * DIRECTIONS
    for smaller, larger in zip((0, *EPSILONS), EPSILONS, strict=False):
        assert (gains["pgd", larger] >= gains.get(("pgd", smaller), 0) - 1e-3).all()
    assert (gains["pgd", 8] > 0.05).all()
    assert all((gains["pgd", epsilon] >= gains["fgsm", epsilon] - 2e-2).all() for epsilon in EPSILONS)


def test_on_a_linear_logit_both_find_the_corner_of_the_box():
    weights = [torch.from_numpy(RNG.normal(size=image.shape).astype(np.float32)) for image in IMAGES]

    def linear(images):
        return torch.stack([(weight * image).sum() for weight, image in zip(weights, images, strict=True)])

    for moved in attack_methods.attack(linear, IMAGES, DIRECTIONS, (4,), steps=3).values():
        for image, after, weight, direction in zip(IMAGES, moved, weights, DIRECTIONS, strict=True):
            expected = np.clip(image + 4 * direction * np.sign(weight.numpy()), 0, 255)
            assert np.array_equal(after, expected)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_a_patch_covers_its_share_and_lies_by_content(share):
    for height, width in ((64, 64), (50, 90), (31, 17)):
        image, other = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 9, np.uint8)
        patches = [attack_methods.paste_patch(image, other, share, digest, 0) for digest in ("a", "a", "b")]
        assert np.array_equal(patches[0], patches[1])
        assert share == 1 or not np.array_equal(patches[0], patches[2])
        rows, columns = np.nonzero(patches[0][..., 0])
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert len(rows) / (height * width) == pytest.approx(share, abs=0.5 / min(height, width))


def test_mixtures_are_nested_and_bisection_ends_between():
    image, other = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 8, np.uint8)
    mixed = [attack_methods.mix(image, other, share, "a", 0)[..., 0] > 0 for share in (0, 0.3, 0.6, 1)]
    assert all((inner <= outer).all() for inner, outer in pairwise(mixed))
    assert [part.mean() for part in mixed] == pytest.approx([0, 0.3, 0.6, 1], abs=0.05)

    def score(images):
        return np.array([part.mean() / 8 for part in images])

    def side(value):
        return -1 if value < 0.55 else 0 if value < 0.65 else 1

    stuck = np.full_like(image, 1)
    found = attack_methods.bisect([image, other, image], [other, image, stuck], ["a", "b", "c"], 0, score, side)
    assert [side(value) for value in score(found)] == [0, 0, -1]
    assert np.array_equal(found[2], stuck)


def test_the_table_ranks_by_the_shared_bootstrap():
    """Of fakes that were attacked against the photographs as they are, and of photographs that count as generated."""
    base = pd.DataFrame({"path": [f"{i}" for i in range(8)], "label": [0] * 4 + [1] * 4, "group": list("aabcdefg")})
    base["clean"] = [0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9]
    base = base.assign(source="", target="detector", strength="", counted_as=base["label"], threshold=0.5, psnr=30.0)
    none = base.assign(attack="none", score=base["clean"], side=np.where(base["clean"] > 0.5, 1, -1))
    score = np.array([0.2, 0.2, 0.9, 0.5, 0.05, 0.25, 0.55, 0.9])
    moved = base.assign(attack="pgd", strength="2", source="detector", score=score, side=[-1, -1, 1, 0, -1, -1, 0, 1])
    redrawn = moved[:4].assign(attack="autoencoder", strength="", source="", counted_as=1)
    table = summarize(pd.concat([none, moved, redrawn]), 0)
    assert list(table) == COLUMNS
    rows = table.set_index(["attack", "images"])
    fake = rows.loc[("pgd", "generated")]
    assert fake[["auroc", "wrong", "uncertain", "shift", "num"]].tolist() == pytest.approx(
        [9 / 16, 0.5, 0.25, -0.2625, 4]
    )
    scores, groups = np.r_[score[4:], base["clean"][:4]], np.r_[base["group"][4:], base["group"][:4]].astype(str)
    (whole,) = auroc_intervals(np.r_[np.ones(4), np.zeros(4)], scores, groups, 0).values()
    assert fake["auroc"] == whole.value
    assert fake["auroc_low"] <= fake["auroc"] <= fake["auroc_high"]
    expected = Interval(0.5, *wilson_interval(np.array([1, 1, 0, 0]), np.array(list("defg"))))
    assert fake[["wrong", "wrong_low", "wrong_high"]].tolist() == pytest.approx(list(expected))
    assert rows.loc[("pgd", "real"), "wrong"] == 0.25
    assert rows.loc[("autoencoder", "real"), ["counted_as", "wrong"]].tolist() == ["generated", 0.75]
    assert rows.loc[("none", "real"), ["shift", "shift_low", "shift_high"]].tolist() == [0, 0, 0]


def test_settings_and_images_that_cannot_be_attacked_are_refused(tmp_path):
    for wrong in ({"epsilons": [0]}, {"epsilons": [99]}, {"patches": [1.5]}, {"sources": []}, {"steps": 0}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            attack.AttackSettings(backbone="b", dataset="d", **wrong)
    rows = pd.DataFrame({"path": ["a.png"], "label": [1], "generator": ["g"], "split": ["test"]})
    with pytest.raises(InputError, match="the test split lacks reals or fakes"):
        attack.batches(rows, 4, 0)
    with pytest.raises(InputError, match="none of 1 test images can be read"):
        attack.ImageSample(rows, tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, their embeddings, and a probe's bundle."""
    folder, patch = tmp_path_factory.mktemp("attack"), pytest.MonkeyPatch()
    patch.setenv("AIGID_CACHE", str(folder / "cache"))
    fit_probe(folder, "tiny_clip")
    yield folder
    patch.undo()


def test_an_attack_on_a_bundle_hides_its_fakes_from_it_and_from_the_surrogate(made, tmp_path):
    """The surrogate has the bundle's own encoder here, so that what is found on one moves the other."""
    table, changes = manifest.read(made / "m.csv"), {"epsilons": (2, 8), "steps": 2, "views": ("jpeg_chain",)}
    settings = attack.AttackSettings(backbone="tiny_clip", dataset="d", c=0.1, patches=(0.25,), **changes)
    attack.surrogate(table, made / "m.csv", made / "e.h5", settings, 0, tmp_path / "surrogate")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(**TINY).eval()
    predictors = {"detector": Predictor(made / "bundle"), "surrogate": Predictor(tmp_path / "surrogate")}
    run = attack.scorer(predictors, vae, made / "images", settings, 0)
    batches = attack.batches(table, 4, 0)
    assert [sorted(batch["label"]) for batch in batches] == [[0] * 4 + [1] * 4]
    rows = summarize(run(batches[0]), 0).set_index(["source", "target", "attack", "strength", "images"])
    for source, target in [(a, b) for a in predictors for b in predictors]:
        shift = [rows.loc[(source, target, "pgd", epsilon, "generated"), "shift"] for epsilon in ("2", "8")]
        assert shift[1] < shift[0] < 0
    own = ("detector", "detector")
    assert rows.loc[(*own, "pgd", "8", "generated"), "wrong"] == 1
    assert rows.loc[(*own, "pgd", "8", "generated"), "psnr"] > 29
    mixed = rows.loc[(*own, "pgd, to uncertain", "8", "generated"), "uncertain"]
    assert mixed >= rows.loc[(*own, "pgd", "8", "generated"), "uncertain"]
    assert ("", "detector", "patch", "0.25", "generated") not in rows.index
    assert rows.loc[("", "detector", "patch", "0.25", "real"), "counted_as"] == "generated"
    assert Path(tmp_path / "surrogate/model.json").is_file()
