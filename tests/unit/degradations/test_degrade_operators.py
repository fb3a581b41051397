"""What holds for every operator: bytes fixed by the seed, range and shape kept, distortion growing with the level."""

from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from scipy.stats import spearmanr

from aigid.degradations import operators, policies

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
LEVELLED = [
    (name, operator)
    for name, policy in policies.POLICIES.items()
    if isinstance(policy, operators.Sample)
    for group in policy.groups.values()
    for operator in group
]
EXAMPLES = {  # parameters of the operators that have no levels
    "gaussian_blur": {"sigma": 2.5},
    "brightness": {"factor": 1.7},
    "hflip": {},
    "vflip": {},
    "low_resolution": {"side": 64, "back": 224},
    "centre_crop": {"share": 0.6},
    "square": {"side": 33},
    "pepper": {"density": 0.1},
    "median_blur": {"size": 3},
    "sharpen": {"amount": 3.0},
    "color_jitter": {"brightness": 1.4, "contrast": 0.6, "saturation": 1.4, "hue": -0.175},
    "grayscale": {},
}
RESIZES = {"low_resolution", "centre_crop", "square"}


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    folder = Path(skimage.__file__).parent / "data"
    return [np.array(Image.open(folder / name).convert("RGB"))[64:256, 64:256] for name in PHOTOGRAPHS]


def steps() -> list[operators.AppliedOperator]:
    """Every operator once: at its policy's last level, or as in EXAMPLES."""
    last = [policies.at_level(p, o, len(policies.get_policy(p).weights), np.random.default_rng(0)) for p, o in LEVELLED]
    return last + [{"operator": name, "parameters": parameters} for name, parameters in EXAMPLES.items()]


def run(step: operators.AppliedOperator, image: np.ndarray, seed: int = 0) -> np.ndarray:
    return operators.apply_operators([step], image, np.random.default_rng(seed))


def test_every_operator_is_tested_here():
    assert {step["operator"] for step in steps()} == set(operators.OPERATORS)
    assert set(operators.OPERATORS) >= operators.GEOMETRIC


@pytest.mark.parametrize("step", steps(), ids=lambda step: step["operator"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (64, 65)])
def test_bytes_range_and_shape(step, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = image.copy()
    out = run(step, image)
    assert out.dtype == np.uint8
    assert out.shape[2] == 3
    assert out.shape == image.shape or step["operator"] in RESIZES
    assert np.array_equal(out, run(step, image)), "the same seed, other bytes"
    assert np.array_equal(image, before), "the input was changed"


@pytest.mark.parametrize("step", steps(), ids=lambda step: step["operator"])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_grey_black_and_white_images_pass_without_a_warning(step, value, recwarn):
    out = run(step, np.full((24, 24, 3), value, np.uint8))
    assert out.dtype == np.uint8
    assert not recwarn.list


@pytest.mark.parametrize(("policy", "operator"), LEVELLED)
def test_distortion_grows_with_the_level(policy, operator, photographs):
    def distortion(image: np.ndarray, level: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        out = operators.apply_operators([policies.at_level(policy, operator, level, rng)], image, rng)
        return np.sqrt(((out.astype(float) - image) ** 2).mean())

    levels = range(1, len(policies.get_policy(policy).weights) + 1)
    errors = np.array([[distortion(image, level, i) for level in levels] for i, image in enumerate(photographs)])
    assert spearmanr(levels, errors.mean(axis=0)).statistic >= 0.9 - 1e-9  # lincontrchange's own order gives 0.9
    assert errors.mean(axis=0).argmin() == 0
    assert errors[:, -1].min() > 0


KEEPERS = [step for step in steps() if step["operator"] not in operators.GEOMETRIC]


@pytest.mark.parametrize("step", KEEPERS, ids=lambda step: step["operator"])
def test_what_keeps_alignment_answers_to_a_spot_where_the_spot_is(step):
    flat = np.full((96, 96, 3), 90, np.uint8)
    spot = np.zeros((96, 96))
    spot[24:40, 48:72] = 1
    image = flat + np.uint8(110) * spot[..., None].astype(np.uint8)
    answer = (run(step, image).astype(float) - run(step, flat)).sum(axis=2)
    shifts = [(dy, dx) for dy in (-8, -4, 0, 4, 8) for dx in (-8, -4, 0, 4, 8)]
    match = [abs((answer * (np.roll(spot, shift, axis=(0, 1)) - spot.mean())).sum()) for shift in shifts]
    assert shifts[int(np.argmax(match))] == (0, 0)
