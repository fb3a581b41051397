"""What the policies draw, against the probabilities that the papers state: 20,000 draws, no pixels."""

from collections import Counter

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.stats import binomtest, chisquare, kstest

from aigid.core.errors import InputError
from aigid.degradations import operators, policies
from tests.helpers.patterns import close

NUM_DRAWS = 20_000
BASIC = {  # the table of NTIRE's groups
    "blur": ("gausblur", "lensblur"),
    "color": ("colorshift", "colorsat"),
    "jpeg": ("jpeg",),
    "noise": ("whitenoise", "impulsenoise"),
    "brightness": ("brighten", "darken"),
    "spatial": ("jitter", "quantization"),
    "contrast": ("lincontrchange",),
}
LEVEL_CHANCES = (0.293, 0.270, 0.213, 0.143, 0.081)
SIGNIFICANCE = 0.001


def draws(
    name: str, removed: frozenset[str] = frozenset(), number: int = NUM_DRAWS
) -> list[list[operators.AppliedOperator]]:
    rng = np.random.default_rng(2026)
    return [policies.get_policy(name, removed).sample(rng) for _ in range(number)]


def agrees(values: list, chances: dict) -> None:
    """Chi-squared test of the values' frequencies; a value without a chance fails outright."""
    counts = Counter(values)
    assert set(counts) <= set(chances)
    expected = np.array(list(chances.values())) / sum(chances.values()) * len(values)
    assert chisquare([counts[key] for key in chances], expected).pvalue > SIGNIFICANCE


@pytest.fixture(scope="module")
def basic() -> list[list[operators.AppliedOperator]]:
    return draws("ntire_train")


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
        ("ntire_train", basic, {"jitter", "colorshift"}),
        ("featdistill_extra", extra, {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}),
    ]:
        every = {step["operator"] for drawn in free for step in drawn}
        aligned = draws(name, operators.GEOMETRIC, number=2000)
        assert all(aligned), "an image got nothing"
        assert {step["operator"] for drawn in aligned for step in drawn} == every - moving
    assert {s["operator"] for d in draws("dda", operators.GEOMETRIC, number=2000) for s in d}.isdisjoint(
        {"hflip", "vflip"}
    )


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
        "gaussian_noise": 0.1,
        "pepper": 0.1,
        "sharpen": 0.1,
        "color_jitter": 0.2,
        "grayscale": 0.1,
        "dda_gaussian_blur": 0.1,
        "median_blur": 0.05,
        "dda_motion_blur": 0.05,
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


BASIC_LEVELS = {
    "gausblur": ("sigma", [0.1, 0.5, 1, 2, 5]),
    "lensblur": ("radius", [1, 2, 4, 6, 8]),
    "colorshift": ("amount", [1, 3, 6, 8, 12]),
    "colorsat": ("factor", [0.4, 0.2, 0.1, 0, -0.4]),
    "jpeg": ("quality", [43, 36, 24, 7, 4]),
    "whitenoise": ("variance", [0.001, 0.002, 0.003, 0.005, 0.01]),
    "impulsenoise": ("density", [0.001, 0.005, 0.01, 0.02, 0.03]),
    "brighten": ("amount", [0.1, 0.2, 0.4, 0.7, 1.1]),
    "darken": ("amount", [0.05, 0.1, 0.2, 0.4, 0.8]),
    "jitter": ("amount", [0.05, 0.1, 0.2, 0.5, 1]),
    "quantization": ("levels", [20, 16, 13, 10, 7]),
    "lincontrchange": ("amount", [0, 0.15, -0.4, 0.3, -0.6]),
}
STEPS = np.arange(15)  # level - 1
EXTRA_LEVELS = {
    "jpeg_blockiness": ("quality", [40, 38, 35, 32, 30, 28, 25, 22, 20, 18, 15, 12, 10, 8, 5]),
    "compression_ringing": ("strength", 0.05 + 0.017857 * STEPS),
    "gif_quantization": ("colors", 128 - 8 * STEPS),
    "color_banding": ("bits", [7, 7, 6, 6, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3]),
    "pixel_shuffle": ("share", 0.01 + 0.006429 * STEPS),
    "motion_blur": ("side", [5, 7, 7, 9, 11, 11, 13, 13, 15, 15, 17, 19, 19, 21, 21]),
    "defocus_blur": ("radius", [1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5]),
    "poisson_noise": ("peak", 100 - 6.428571 * STEPS),
    "speckle_noise": ("variance", 0.01 * (STEPS + 1)),
    "iso_noise": ("iso", 400 + 428.571429 * STEPS),
    "film_grain": ("intensity", 0.02 + 0.009286 * STEPS),
    "salt_and_pepper": ("share", 0.005 + 0.003214 * STEPS),
    "color_bleed": ("offset", [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6]),
    "light_leak": ("amount", 0.1 + 0.035714 * STEPS),
    "fading": ("amount", 0.1 + 0.035714 * STEPS),
    "digital_glitch": ("amount", 0.05 + 0.014286 * STEPS),
    "water_drops": ("amount", 0.1 + 0.05 * STEPS),
    "night_vision": ("intensity", 0.2 + 0.057143 * STEPS),
    "ghosting": ("dx", [2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15]),
}
LEVELS = [(name, *item) for name in ("ntire_train", "featdistill_basic") for item in BASIC_LEVELS.items()]
LEVELS += [("featdistill_extra", *item) for item in EXTRA_LEVELS.items()]


@pytest.mark.parametrize(("policy", "operator", "table"), LEVELS)
def test_level_tables_value_by_value(policy, operator, table):
    parameter, values = table
    at = [policies.at_level(policy, operator, level, np.random.default_rng(0)) for level in range(1, len(values) + 1)]
    assert [step["level"] for step in at] == list(range(1, len(values) + 1))
    np.testing.assert_allclose([step["parameters"][parameter] for step in at], values, rtol=0, atol=1e-5)
    if isinstance(values, list):
        assert [type(step["parameters"][parameter]) for step in at] == [type(value) for value in values]


def test_the_two_forms_and_what_a_level_leaves_open():
    def at(policy: str, operator: str, level: int) -> dict:
        return policies.at_level(policy, operator, level, np.random.default_rng(0))["parameters"]

    for policy, form in (("ntire_train", "ntire"), ("featdistill_basic", "featdistill")):
        forms = {operator: at(policy, operator, 1).get("form") for operator in BASIC_LEVELS}
        two_forms = {"lensblur", "colorsat", "colorshift", "brighten", "jitter"}
        assert forms == {operator: form if operator in two_forms else None for operator in BASIC_LEVELS}
    assert 0 <= at("featdistill_extra", "motion_blur", 3)["angle"] < 360
    close([at("featdistill_extra", "ghosting", level)["intensity"] for level in range(1, 16)], 0.1 + 0.3 / 14 * STEPS)


def test_numbers_that_follow_from_a_level(monkeypatch):
    # Levels a channel, bands and drops of the extra operators: the printed columns of their tables.
    ramp = np.linspace(0, 1, 4000, dtype=np.float32).reshape(40, 100, 1).repeat(3, axis=2)
    colors = [len(np.unique(operators.extra.gif_quantization(ramp, number))) for number in 128 - 8 * STEPS]
    assert colors == [5] * 5 + [4] * 6 + [3] * 4
    calls: dict[str, list[int]] = {"add_drop": [], "roll": []}
    for name, module, plain in (("add_drop", operators.extra, operators.extra.add_drop), ("roll", np, np.roll)):

        def counted(*args, name=name, plain=plain, **more):
            calls[name].append(level)
            return plain(*args, **more)

        monkeypatch.setattr(module, name, counted)
    for level in range(1, 16):
        for name in ("water_drops", "digital_glitch"):
            step = policies.at_level("featdistill_extra", name, level, np.random.default_rng(0))
            operators.OPERATORS[name](ramp, **step["parameters"], rng=np.random.default_rng(0))
    assert [calls["add_drop"].count(level) for level in range(1, 16)] == list(range(3, 18))
    assert [calls["roll"].count(level) for level in range(1, 16)] == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5]


@pytest.mark.parametrize("name", operators.UNIT_OPERATORS)
def test_operators_of_unit_values_stay_float32_and_keep_their_input(name):
    chains = policies.EDITS | policies.QUERY_FREE
    fixed = dict(step for chain in chains.values() for _, step in chain.stages)
    levels = [p for p in ("ntire_train", "featdistill_extra") if name in policies.get_policy(p).operators()]
    parameters = (
        policies.at_level(levels[0], name, 4, np.random.default_rng(0))["parameters"] if levels else fixed[name]
    )
    image = np.random.default_rng(1).random((50, 61, 3), dtype=np.float32)
    before = image.copy()
    out = operators.OPERATORS[name](image, **parameters, rng=np.random.default_rng(2))
    assert (out.dtype, out.shape) == (np.float32, image.shape)
    assert np.array_equal(image, before)


def test_a_chain_of_unit_values_rounds_once_and_one_of_bytes_each_time():
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    darker, contrast = {"amount": 0.1}, {"amount": 0.3}
    steps = [{"operator": "darken", "parameters": darker}, {"operator": "lincontrchange", "parameters": contrast}]
    x = image / 255
    x = x - 0.2 * x * (1 - x)
    expected = np.clip(CubicSpline([0, 0.3, 0.5, 0.7, 1], [0, 0.175, 0.5, 0.825, 1])(x), 0, 1) * 255
    assert np.abs(operators.apply_operators(steps, image) - expected).max() <= 0.501
    steps.insert(1, {"operator": "brightness", "parameters": {"factor": 0.5}})
    rounded = np.rint(0.5 * np.rint(255 * x)) / 255
    expected = np.clip(CubicSpline([0, 0.3, 0.5, 0.7, 1], [0, 0.175, 0.5, 0.825, 1])(rounded), 0, 1) * 255
    assert np.abs(operators.apply_operators(steps, image) - expected).max() <= 1.51  # where half a level is rounded


def test_marginals_of_the_policies(basic):
    counts = Counter(step["operator"] for drawn in basic for step in drawn)
    for operator in BASIC_LEVELS:
        share = 2 / 7 if operator in ("jpeg", "lincontrchange") else 1 / 7
        assert counts[operator] / NUM_DRAWS == pytest.approx(share, abs=0.012)
    counts = Counter(step["operator"] for drawn in draws("featdistill") for step in drawn)
    shares = {operator: 0.1143 if operator in ("jpeg", "lincontrchange") else 0.0571 for operator in BASIC_LEVELS}
    for operator, share in (shares | dict.fromkeys(EXTRA_LEVELS, 0.0421)).items():
        assert counts[operator] / NUM_DRAWS == pytest.approx(share, abs=0.008)


def test_dda_draws_blurs_and_orders_as_stated():
    drawn = [step for sample in draws("dda") for step in sample]
    gaussian = [step["parameters"] for step in drawn if step["operator"] == "dda_gaussian_blur"]
    agrees([step["radius"] for step in gaussian], {1: 1, 2: 1})
    assert kstest([step["sigma"] for step in gaussian], "uniform", (0.1, 1.9)).pvalue > SIGNIFICANCE
    jitter = [step["parameters"] for step in drawn if step["operator"] == "color_jitter"]
    agrees([step["order"] for step in jitter], dict.fromkeys(range(24), 1))
    assert kstest([step["hue"] for step in jitter], "uniform", (-0.175, 0.35)).pvalue > SIGNIFICANCE
    assert {step["parameters"]["deviation"] for step in drawn if step["operator"] == "gaussian_noise"} == {55}


def test_operators_held_out_are_never_drawn():
    removed = frozenset({"jpeg", "whitenoise", "impulsenoise", "jpeg_blockiness"})
    drawn = {step["operator"] for sample in draws("featdistill", removed, 4000) for step in sample}
    assert drawn == (set(BASIC_LEVELS) | set(EXTRA_LEVELS)) - removed
    only_extra = draws("featdistill", frozenset(BASIC_LEVELS), 2000)
    assert {step["operator"] for sample in only_extra for step in sample} == set(EXTRA_LEVELS)
    plain = draws("nycu", frozenset({"jpeg"}), 400)
    assert [] in plain  # the image as it is stays one of the choices
    assert {step["operator"] for sample in plain for step in sample} == {"hflip", "brightness", "whitenoise"}
    with pytest.raises(InputError, match="policy 'ufd': no operator is left without gaussian_blur, jpeg"):
        policies.get_policy("ufd", frozenset({"gaussian_blur", "jpeg"}))


def test_faults_name_what_is_known():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"unknown policy 'ntire'; known: dda, .*ntire_train"):
        policies.get_policy("ntire")
    with pytest.raises(InputError, match="level 6 of jpeg: ntire_train has levels 1 to 5"):
        policies.at_level("ntire_train", "jpeg", 6, rng)
    with pytest.raises(InputError, match="level 0 of iso_noise: featdistill_extra has levels 1 to 15"):
        policies.at_level("featdistill_extra", "iso_noise", 0, rng)
    with pytest.raises(InputError, match="unknown operator 'lensblurr' of ntire_train; near it: lensblur"):
        policies.at_level("ntire_train", "lensblurr", 1, rng)
    with pytest.raises(InputError, match="'dda' has no levels"):
        policies.at_level("dda", "jpeg", 1, rng)


def test_augment_tells_what_it_did():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    out, drawn = policies.apply_policy("ntire_train", image, np.random.default_rng(5), operators.GEOMETRIC)
    assert not np.array_equal(out, image)
    assert drawn == policies.get_policy("ntire_train", operators.GEOMETRIC).sample(np.random.default_rng(5))
