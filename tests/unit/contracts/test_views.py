"""What every operator and view promises: bytes by the seed, shape, nothing at strength 0, a fixed definition."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from scipy.stats import spearmanr

from aigid.degradations import operators, policies, views

IMAGES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
LEVELLED = [
    (name, operator)
    for name, policy in policies.POLICIES.items()
    if isinstance(policy, operators.Sample)
    for group in policy.groups.values()
    for operator in group
]
EXAMPLES = {  # parameters of the operators that have no levels
    "gaussian_blur": {"sigma": 2.5},
    "dda_gaussian_blur": {"sigma": 2.0, "radius": 2},
    "median_blur": {"size": 3},
    "dda_motion_blur": {"side": 5, "angle": 30.0},
    "sharpen": {"amount": 3.0},
    "gaussian_noise": {"deviation": 55},
    "pepper": {"density": 0.1},
    "brightness": {"factor": 1.7},
    "grayscale": {},
    "color_jitter": {"brightness": 1.4, "contrast": 0.6, "saturation": 1.4, "hue": -0.175, "order": 7},
    "hflip": {},
    "vflip": {},
    "low_resolution": {"side": 64, "back": 224},
    "resize": {"factor": 0.5},
    "centre_crop": {"share": 0.6},
    "square": {"side": 33},
    "fit": {"side": 50},
    "letterbox": {"ratio": 1.5},
    "bilateral": {"radius": 2, "sigma": 0.1},
    "white_balance": {"red": 1.1, "blue": 0.9},
    "tone_map": {"compression": 0.5, "detail": 1.5},
    "portrait_blur": {"sigma": 0.03},
    "upscale": {"factor": 2},
    "watermark": {"opacity": 0.5},
    "text_overlay": {"share": 0.15},
    "collage": {"gap": 0.02},
    "perspective": {"amount": 0.1},
    "moire": {"amplitude": 0.1, "pitch": 1.1, "angle": 3.0},
    "gamma": {"exponent": 1.3},
}
RESIZES = {"low_resolution", "resize", "centre_crop", "square", "fit", "letterbox", "upscale", "collage"}
IDENTITIES = {  # parameters under which an operator changes nothing
    "gausblur": {"sigma": 0.1},
    "colorsat": {"factor": 1},
    "colorshift": {"amount": 0},
    **{name: {"variance": 0} for name in ("whitenoise", "speckle_noise")},
    **{name: {"density": 0} for name in ("impulsenoise", "pepper")},
    **{name: {"amount": 0} for name in ("brighten", "darken", "sharpen", "fading", "light_leak", "jitter")},
    **{name: {"intensity": 0} for name in ("film_grain", "night_vision")},
    **{name: {"share": 0} for name in ("pixel_shuffle", "salt_and_pepper")},
    "lincontrchange": {"amount": -0.2},
    "color_banding": {"bits": 8},
    "compression_ringing": {"strength": 0},
    "digital_glitch": {"amount": 0},
    "motion_blur": {"side": 1, "angle": 0},
    "defocus_blur": {"radius": 0},
    "iso_noise": {"iso": 0},
    "ghosting": {"dx": 5, "intensity": 0},
    "gaussian_blur": {"sigma": 0},
    "median_blur": {"size": 1},
    "dda_motion_blur": {"side": 1, "angle": 0},
    "gaussian_noise": {"deviation": 0},
    **{name: {"factor": 1} for name in ("brightness", "resize")},
    "centre_crop": {"share": 1},
    "fit": {"side": 61},
    "letterbox": {"ratio": 61 / 40},
    "white_balance": {"red": 1, "blue": 1},
    "tone_map": {"compression": 0, "detail": 1},
    "portrait_blur": {"sigma": 0},
    "upscale": {"factor": 1},
    "watermark": {"opacity": 0},
    "perspective": {"amount": 0},
    "moire": {"amplitude": 0, "pitch": 1.1, "angle": 3},
    "gamma": {"exponent": 1},
}
DEFINITIONS = "48ce9f216a89eb4861f7e9ed68f98cd803bb4ddfcf07189b5caecabc1a2f1c39"  # part of the row cache's keys


def steps() -> list[operators.AppliedOperator]:
    """Return every operator once: at its policy's last level, or as in EXAMPLES."""
    last = [policies.at_level(p, o, len(policies.get_policy(p).weights), np.random.default_rng(0)) for p, o in LEVELLED]
    return last + [{"operator": name, "parameters": parameters} for name, parameters in EXAMPLES.items()]


EVERY = pytest.mark.parametrize("step", steps(), ids=lambda step: step["operator"])


def run(step: operators.AppliedOperator, image: np.ndarray) -> np.ndarray:
    return operators.apply_operators([step], image, np.random.default_rng(0))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_operator_is_tested_here() -> None:
    assert {step["operator"] for step in steps()} == set(operators.OPERATORS)
    assert set(operators.OPERATORS) >= operators.GEOMETRIC


@EVERY
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (64, 65)])
def test_equal_seeds_give_equal_bytes_in_range_and_shape(step, shape) -> None:
    image = noise(*shape)
    before = image.copy()
    out = run(step, image)
    assert out.dtype == np.uint8
    assert out.shape[2] == 3
    assert out.shape == image.shape or step["operator"] in RESIZES
    assert np.array_equal(out, run(step, image))
    assert np.array_equal(image, before)


@EVERY
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_images_give_no_warning(step, value, recwarn) -> None:
    assert run(step, np.full((24, 24, 3), value, np.uint8)).dtype == np.uint8
    assert not recwarn.list


@pytest.mark.parametrize("name", IDENTITIES)
def test_at_strength_0_an_operator_returns_the_image(name: str) -> None:
    image = noise(40, 61)
    assert np.array_equal(run({"operator": name, "parameters": IDENTITIES[name]}, image), image)


@pytest.mark.parametrize(("policy", "operator"), [pair for pair in LEVELLED if pair[1] != "lincontrchange"])
def test_distortion_grows_with_the_level(policy: str, operator: str) -> None:
    def distortion(image: np.ndarray, level: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        out = operators.apply_operators([policies.at_level(policy, operator, level, rng)], image, rng)
        return np.sqrt(((out.astype(float) - image) ** 2).mean())

    folder = Path(skimage.__file__).parent / "data"
    images = [np.array(Image.open(folder / name).convert("RGB"))[64:256, 64:256] for name in IMAGES]
    levels = range(1, len(policies.get_policy(policy).weights) + 1)
    errors = np.array([[distortion(image, level, i) for level in levels] for i, image in enumerate(images)])
    assert spearmanr(levels, errors.mean(axis=0)).statistic >= 0.9
    assert errors.mean(axis=0).argmin() == 0
    assert errors[:, -1].min() > 0


@pytest.mark.parametrize(
    "step", [step for step in steps() if step["operator"] not in operators.GEOMETRIC], ids=lambda step: step["operator"]
)
def test_an_operator_that_is_not_geometric_moves_no_spot(step) -> None:
    flat, spot = np.full((96, 96, 3), 90, np.uint8), np.zeros((96, 96), np.uint8)
    spot[24:40, 48:72] = 1
    change = (run(step, flat + 110 * spot[..., None]).astype(float) - run(step, flat)).sum(axis=2)
    shifts = [(dy, dx) for dy in (-8, -4, 0, 4, 8) for dx in (-8, -4, 0, 4, 8)]
    match = [abs((change * (np.roll(spot, shift, axis=(0, 1)) - spot.mean())).sum()) for shift in shifts]
    assert shifts[int(np.argmax(match))] == (0, 0)


@pytest.mark.parametrize("name", views.VIEWS)
def test_a_view_repeats_and_records_what_it_applied(name: str) -> None:
    image = noise(33, 40)
    sha256 = hashlib.sha256(image).hexdigest()
    first, applied = views.apply(name, image, sha256, seed=3)
    again, applied_again = views.apply(name, image.copy(), sha256, seed=3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert json.loads(json.dumps(applied)) == applied == applied_again == views.sample_view(name, sha256, 3)
    assert name != "clean" or (np.array_equal(first, image) and applied == [])


def test_the_definitions_of_views_are_json_and_stay_as_they_are() -> None:
    definitions = {name: json.dumps(views.to_dict(name), allow_nan=False) for name in sorted(views.VIEWS)}
    assert len(set(definitions.values())) == len(definitions)
    text = json.dumps({name: views.to_dict(name) for name in sorted(views.VIEWS)}, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DEFINITIONS
