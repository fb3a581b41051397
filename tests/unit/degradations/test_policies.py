"""What the policies draw, against the probabilities that the papers state: 20,000 draws, no pixels."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, kstest

from aigid.core.errors import InputError
from aigid.degradations import operators, policies

NUM_DRAWS = 20_000
BASIC = {  # the table of NTIRE's groups
    "blur": ("gausblur", "lensblur"),
    "color": ("colorshift", "colorsat"),
    "jpeg": ("jpeg",),
    "noise": ("whitenoise", "impulse"),
    "brightness": ("brighten", "darken"),
    "spatial": ("jitter", "quantization"),
    "contrast": ("lincontrchange",),
}
LEVEL_CHANCES = (0.293, 0.270, 0.213, 0.143, 0.081)
SIGNIFICANCE = 0.001


def draws(name: str, aligned: bool = False, number: int = NUM_DRAWS) -> list[list[operators.AppliedOperator]]:
    rng = np.random.default_rng(2026)
    return [policies.get_policy(name).sample(rng, aligned) for _ in range(number)]


def agrees(values: list, chances: dict) -> None:
    """Chi-squared test of the values' frequencies; a value without a chance fails outright."""
    counts = Counter(values)
    assert set(counts) <= set(chances)
    expected = np.array(list(chances.values())) / sum(chances.values()) * len(values)
    assert chisquare([counts[key] for key in chances], expected).pvalue > SIGNIFICANCE


@pytest.fixture(scope="module")
def basic() -> list[list[operators.AppliedOperator]]:
    return draws("ntire_basic")


@pytest.fixture(scope="module")
def extra() -> list[list[operators.AppliedOperator]]:
    return draws("featdistill_extra")


def test_basic_draws_groups_operators_levels_and_numbers_as_stated(basic):
    agrees([len(drawn) for drawn in basic], {1: 1, 2: 1, 3: 1})
    for position in range(3):  # steps of one image exclude each other, so each position is tested by itself
        steps = [drawn[position] for drawn in basic if len(drawn) > position]
        agrees([s["operator"] for s in steps], {o: 1 / len(group) for group in BASIC.values() for o in group})
        agrees([s["level"] for s in steps], dict(enumerate(LEVEL_CHANCES, start=1)))


def test_basic_takes_at_most_one_operator_of_a_group(basic):
    group = {operator: name for name, members in BASIC.items() for operator in members}
    for drawn in basic:
        taken = [group[step["operator"]] for step in drawn]
        assert len(set(taken)) == len(taken)


def test_extra_draws_19_operators_and_15_levels_evenly(extra):
    agrees([len(drawn) for drawn in extra], {1: 1, 2: 1, 3: 1})
    names = {step["operator"] for drawn in extra for step in drawn}
    assert len(names) == 19
    for position in range(3):
        steps = [drawn[position] for drawn in extra if len(drawn) > position]
        agrees([step["operator"] for step in steps], dict.fromkeys(names, 1))
        agrees([step["level"] for step in steps], dict.fromkeys(range(1, 16), 1))
    assert all(len({step["operator"] for step in drawn}) == len(drawn) for drawn in extra)


def test_featdistill_acts_on_four_in_five_and_halves_the_families(extra):
    of_basic = {operator for group in BASIC.values() for operator in group}
    family = ["none" if not d else "basic" if d[0]["operator"] in of_basic else "extra" for d in draws("featdistill")]
    agrees(family, {"none": 0.2, "basic": 0.4, "extra": 0.4})


def test_alignment_drops_exactly_the_operators_that_move_pixels(basic, extra):
    for name, free, moving in [
        ("ntire_basic", basic, {"jitter", "colorshift"}),
        ("featdistill_extra", extra, {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}),
    ]:
        every = {step["operator"] for drawn in free for step in drawn}
        aligned = draws(name, aligned=True, number=2000)
        assert all(aligned), "an image got nothing"
        assert {step["operator"] for drawn in aligned for step in drawn} == every - moving
    assert {s["operator"] for d in draws("dda", aligned=True, number=2000) for s in d}.isdisjoint({"hflip", "vflip"})


def test_ufd_blurs_and_compresses_independently_from_the_stated_ranges():
    drawn = draws("ufd")
    agrees(
        [tuple(step["operator"] for step in d) for d in drawn],
        {(): 1, ("gaussian_blur",): 1, ("jpeg",): 1, ("gaussian_blur", "jpeg"): 1},
    )
    parameters = [step["parameters"] for d in drawn for step in d]
    sigmas = [p["sigma"] for p in parameters if "sigma" in p]
    assert kstest(sigmas, "uniform", (0, 3)).pvalue > SIGNIFICANCE
    agrees([p["quality"] for p in parameters if "quality" in p], dict.fromkeys(range(30, 101), 1))


def test_dda_stages_act_as_often_as_stated():
    chances = {
        "jpeg": 0.15,
        "hflip": 0.5,
        "vflip": 0.5,
        "whitenoise": 0.1,
        "pepper": 0.1,
        "sharpen": 0.1,
        "color_jitter": 0.2,
        "grayscale": 0.1,
        "gaussian_blur": 0.1,
        "median_blur": 0.05,
        "motion_blur": 0.05,
    }
    counts = Counter(step["operator"] for drawn in draws("dda") for step in drawn)
    assert set(counts) == set(chances)
    for operator, chance in chances.items():
        assert binomtest(counts[operator], NUM_DRAWS, chance).pvalue > SIGNIFICANCE, operator


@pytest.mark.parametrize(("name", "number"), [("genimage", 6), ("nycu", 8)])
def test_sets_of_views_are_drawn_evenly(name, number):
    kinds = [tuple(s["operator"] + str(s["parameters"] if name == "genimage" else "") for s in d) for d in draws(name)]
    assert len(set(kinds)) == number
    agrees(kinds, dict.fromkeys(set(kinds), 1))


def test_linear_ranges_end_where_the_table_says():
    def at(operator: str, level: int) -> dict:
        return policies.at_level("featdistill_extra", operator, level, np.random.default_rng(0))["parameters"]

    assert [at("jpeg_blockiness", level)["quality"] for level in (1, 8, 15)] == [40, 22, 5]
    assert [2 * at("motion_blur", level)["half"] + 1 for level in (1, 8, 15)] == [5, 13, 21]
    assert [at("speckle", level)["variance"] for level in (1, 8, 15)] == [0.01, 0.08, 0.15]
    assert at("ghosting", 1) == {"dx": 2, "alpha": 0.1}
    assert at("ghosting", 15) == {"dx": 15, "alpha": 0.4}


def test_faults_name_what_is_known():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"unknown policy 'ntire'; known: dda, .*ntire_basic"):
        policies.get_policy("ntire")
    with pytest.raises(InputError, match="level 6 of jpeg: ntire_basic has levels 1 to 5"):
        policies.at_level("ntire_basic", "jpeg", 6, rng)
    with pytest.raises(InputError, match="level 0 of iso: featdistill_extra has levels 1 to 15"):
        policies.at_level("featdistill_extra", "iso", 0, rng)
    with pytest.raises(InputError, match="unknown operator 'fog' of ntire_basic; known: brighten"):
        policies.at_level("ntire_basic", "fog", 1, rng)
    with pytest.raises(InputError, match="'dda' has no levels"):
        policies.at_level("dda", "jpeg", 1, rng)


def test_augment_tells_what_it_did():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    out, drawn = policies.apply_policy("ntire_basic", image, np.random.default_rng(5), preserve_spatial_alignment=True)
    assert not np.array_equal(out, image)
    assert drawn == policies.get_policy("ntire_basic").sample(np.random.default_rng(5), True)
