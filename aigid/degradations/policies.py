"""The policies of the papers: which operators, how often, and from which ranges."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from math import exp

import numpy as np

from aigid.core.errors import InputError
from aigid.degradations.basic import Form
from aigid.degradations.operators import (
    AppliedOperator,
    Chain,
    Integer,
    Levels,
    Linear,
    Mixture,
    Policy,
    Ranges,
    Sample,
    Uniform,
    apply_operators,
    chain,
    fixed,
)
from aigid.degradations.pixels import Pixels


def _basic(form: Form) -> Sample:
    """Return NTIRE 2026's training pipeline. Radii and shifts in px; noise on the unit scale."""
    return Sample(
        groups={
            "blur": {
                "gausblur": {"sigma": Levels((0.1, 0.5, 1, 2, 5))},
                "lensblur": {"radius": Levels((1, 2, 4, 6, 8)), "form": form},
            },
            "color": {
                "colorshift": {"amount": Levels((1, 3, 6, 8, 12)), "form": form},
                "colorsat": {"factor": Levels((0.4, 0.2, 0.1, 0, -0.4)), "form": form},
            },
            "jpeg": {"jpeg": {"quality": Levels((43, 36, 24, 7, 4))}},
            "noise": {
                "whitenoise": {"variance": Levels((0.001, 0.002, 0.003, 0.005, 0.01))},
                "impulsenoise": {"density": Levels((0.001, 0.005, 0.01, 0.02, 0.03))},
            },
            "brightness": {
                "brighten": {"amount": Levels((0.1, 0.2, 0.4, 0.7, 1.1)), "form": form},
                "darken": {"amount": Levels((0.05, 0.1, 0.2, 0.4, 0.8))},
            },
            "spatial": {
                "jitter": {"amount": Levels((0.05, 0.1, 0.2, 0.5, 1)), "form": form},
                "quantization": {"levels": Levels((20, 16, 13, 10, 7))},
            },
            "contrast": {"lincontrchange": {"amount": Levels((0, 0.15, -0.4, 0.3, -0.6))}},
        },
        weights=tuple(exp(-(i**2) / 12.5) for i in range(5)),  # 0.293, 0.270, 0.213, 0.143, 0.081
    )


# The organisers' training pipeline, which made the challenge's training distortions, and FeatDistill's copy of it.
NTIRE_TRAIN, FEATDISTILL_BASIC = _basic("ntire"), _basic("featdistill")

# The extra operators of FeatDistill's released code: 19, of 15 levels, all equally likely.
_FEATDISTILL: dict[str, Ranges] = {
    "jpeg_blockiness": {"quality": Linear(40, 5)},
    "compression_ringing": {"strength": Linear(0.05, 0.3)},
    "gif_quantization": {"colors": Linear(128, 16)},
    "color_banding": {"bits": Linear(7, 3)},
    "pixel_shuffle": {"share": Linear(0.01, 0.1)},
    "motion_blur": {
        "side": Levels((5, 7, 7, 9, 11, 11, 13, 13, 15, 15, 17, 19, 19, 21, 21)),
        "angle": Uniform(0, 360),
    },
    "defocus_blur": {"radius": Linear(1, 5)},
    "poisson_noise": {"peak": Linear(100.0, 10.0)},
    "speckle_noise": {"variance": Linear(0.01, 0.15)},
    "iso_noise": {"iso": Linear(400.0, 6400.0)},
    "film_grain": {"intensity": Linear(0.02, 0.15)},
    "salt_and_pepper": {"share": Linear(0.005, 0.05)},
    "color_bleed": {"offset": Linear(1, 6)},
    "light_leak": {"amount": Linear(0.1, 0.6)},
    "fading": {"amount": Linear(0.1, 0.6)},
    "digital_glitch": {"amount": Linear(0.05, 0.25)},
    "water_drops": {"amount": Linear(0.1, 0.8)},
    "night_vision": {"intensity": Linear(0.2, 1.0)},
    "ghosting": {"dx": Linear(2, 15), "intensity": Linear(0.1, 0.4)},
}
FEATDISTILL_EXTRA = Sample(groups={name: {name: ranges} for name, ranges in _FEATDISTILL.items()}, weights=(1,) * 15)

# UniversalFakeDetect's training augmentation.
UFD = Chain(((0.5, ("gaussian_blur", {"sigma": Uniform(0, 3)})), (0.5, ("jpeg", {"quality": Integer(30, 100)}))))

# Dual Data Alignment's augmentation of whole images; alignment of a pair belongs to aligned training.
_COLOR_JITTER = dict.fromkeys(("brightness", "contrast", "saturation"), Uniform(0.6, 1.4)) | {
    "hue": Uniform(-0.175, 0.175),
    "order": Integer(0, 23),
}
DDA_TRAIN = Chain(
    (
        *((0.15, ("jpeg", {"quality": Integer(55, 100)})), (0.5, ("hflip", {})), (0.5, ("vflip", {}))),
        (0.1, ("gaussian_noise", {"deviation": 55})),
        (0.1, ("pepper", {"density": Uniform(0.01, 0.1)})),
        (
            0.2,
            ("dda_gaussian_blur", {"sigma": Uniform(0.1, 2), "radius": 1}),
            ("dda_gaussian_blur", {"sigma": Uniform(0.1, 2), "radius": 2}),
            ("median_blur", {"size": 3}),
            ("dda_motion_blur", {"side": 5, "angle": Uniform(0, 180)}),
        ),
        (0.1, ("sharpen", {"amount": Uniform(1, 3)})),
        (0.2, ("color_jitter", _COLOR_JITTER)),
        (0.1, ("grayscale", {})),
    )
)

# GenImage's degraded test set. A low-resolution image comes back at 224 px, because a centre crop of 224 without
# resizing would be mostly padding.
GENIMAGE_SIX = {
    "lr112": fixed("low_resolution", side=112, back=224),
    "lr64": fixed("low_resolution", side=64, back=224),
    "jpeg65": fixed("jpeg", quality=65),
    "jpeg30": fixed("jpeg", quality=30),
    "blur3": fixed("gaussian_blur", sigma=3),
    "blur5": fixed("gaussian_blur", sigma=5),
}

# NYCU's CLIP-SVM: every image becomes eight. Noise has a deviation of 0.1; the last three apply right to left.
_BRIGHTNESS = ("brightness", {"factor": Uniform(0.3, 1.7)})
_NOISE, _JPEG = ("whitenoise", {"variance": 0.01}), ("jpeg", {"quality": 75})
NYCU_AUG_0_TO_7 = {
    "nycu_aug0": Chain(),
    "nycu_aug1": fixed("hflip"),
    "nycu_aug2": chain(_BRIGHTNESS),
    "nycu_aug3": chain(_NOISE),
    "nycu_aug4": chain(_JPEG),
    "nycu_aug5": chain(_NOISE, _BRIGHTNESS),
    "nycu_aug6": chain(_JPEG, _BRIGHTNESS),
    "nycu_aug7": chain(_JPEG, _NOISE),
}

# NYCU's perturbation sweep: noise (deviation in % of full scale), JPEG quality, brightness reduction (in % kept),
# Gaussian blur of 5x5 px, centre crop (in % of the side). The kinds are the authors'; the strengths are ours.
NYCU_SWEEP = {
    **{f"noise{p:02}": fixed("whitenoise", variance=round((p / 100) ** 2, 4)) for p in (5, 10, 20, 30)},
    **{f"jpeg{quality}": fixed("jpeg", quality=quality) for quality in (90, 70, 50, 30)},
    **{f"dark{percent}": fixed("brightness", factor=percent / 100) for percent in (80, 60, 40, 20)},
    **{f"blur5x5_{sigma}": fixed("gaussian_blur", sigma=sigma, radius=2) for sigma in (1, 2, 3)},
    **{f"crop{percent}": fixed("centre_crop", share=percent / 100) for percent in (90, 80, 60)},
}

# The robustness curves of CNNDetection and UniversalFakeDetect.
UFD_SWEEP = {
    **{f"blur{sigma}": fixed("gaussian_blur", sigma=sigma) for sigma in (1, 2, 3, 4)},
    **{f"jpeg{quality}": fixed("jpeg", quality=quality) for quality in (90, 80, 70, 60, 50, 40, 30)},
}

# What becomes of an image that is passed on: resized, framed, and chains of these and JPEG. Strengths are ours.
DELIVERY = {
    "resize50": fixed("resize", factor=0.5),
    "up50": chain(("resize", {"factor": 0.5}), ("resize", {"factor": 2})),
    "fit512": fixed("fit", side=512),
    "letterbox": fixed("letterbox", ratio=16 / 9),
    "chain3": chain(
        *(("jpeg", {"quality": 85}), ("resize", {"factor": 0.75}), ("jpeg", {"quality": 75})),
        *(("fit", {"side": 512}), ("jpeg", {"quality": 65})),
    ),
    "repost": chain(("gaussian_blur", {"sigma": 1}), ("resize", {"factor": 0.5}), ("jpeg", {"quality": 70})),
}

# What hides a forgery without asking the detector. Strengths are ours.
QUERY_FREE: dict[str, Policy] = {
    "jpeg_chain": chain(*(("jpeg", {"quality": quality}) for quality in (95, 80, 90, 70))),
    "resize_chain": chain(*(("resize", {"factor": factor}) for factor in (0.75, 1.6, 0.6, 1.4))),
    "screenshot": chain(("fit", {"side": 720}), ("letterbox", {"ratio": 9 / 16}), ("text_overlay", {"share": 0.06})),
    "recapture": chain(
        *(("perspective", {"amount": 0.04}), ("moire", {"amplitude": 0.06, "pitch": 1.03, "angle": 2})),
        *(("gamma", {"exponent": 1.15}), ("whitenoise", {"variance": 0.0004}), ("jpeg", {"quality": 90})),
    ),
}

# What people do to their own photographs. Strengths are ours.
EDITS: dict[str, Policy] = {
    "denoise": fixed("bilateral", radius=3, sigma=0.08),
    "sharpen": fixed("sharpen", amount=0.8),
    "color_grade": chain(
        ("white_balance", {"red": 1.08, "blue": 0.9}),
        ("color_jitter", {"brightness": 1.05, "contrast": 1.2, "saturation": 1.25, "hue": 0, "order": 0}),
    ),
    "tone_map": fixed("tone_map", compression=0.5, detail=1.8),
    "portrait_blur": fixed("portrait_blur", sigma=0.02),
    "upscale2": fixed("upscale", factor=2),
    "watermark": fixed("watermark", opacity=0.5),
    "text_overlay": fixed("text_overlay", share=0.15),
    "collage": fixed("collage", gap=0.02),
}

POLICIES: dict[str, Policy] = {
    "ntire_train": NTIRE_TRAIN,
    "featdistill_basic": FEATDISTILL_BASIC,
    "featdistill_extra": FEATDISTILL_EXTRA,
    "featdistill": Mixture(0.8, (FEATDISTILL_EXTRA, FEATDISTILL_BASIC)),
    "ufd": UFD,
    "dda": DDA_TRAIN,
    "genimage": Mixture(1, tuple(GENIMAGE_SIX.values())),
    "nycu": Mixture(1, tuple(NYCU_AUG_0_TO_7.values())),
    "nycu_sweep": Mixture(1, tuple(NYCU_SWEEP.values())),
}


@lru_cache
def get_policy(name: str, removed: frozenset[str] = frozenset()) -> Policy:
    """Return the policy of that name, without the ``removed`` operators as far as it has them.

    A group that loses all its operators goes. InputError lists the known policies, or where nothing is left.
    """
    if name not in POLICIES:
        raise InputError(f"unknown policy {name!r}; known: {', '.join(sorted(POLICIES))}")
    policy = POLICIES[name].without(removed) if removed else POLICIES[name]
    if removed and not policy.operators():
        raise InputError(f"policy {name!r}: no operator is left without {', '.join(sorted(removed))}")
    return policy


def refuse_unknown(name: str, operators: Iterable[str]) -> None:
    """Raise InputError where a policy lacks one of the operators, with the names nearest to it."""
    known = sorted(set(get_policy(name).operators()))
    for operator in operators:
        if operator not in known:
            near = get_close_matches(operator, known, cutoff=0.5) or known
            raise InputError(f"unknown operator {operator!r} of {name}; near it: {', '.join(near)}")


def apply_policy(
    name: str, image: Pixels, rng: np.random.Generator, removed: frozenset[str] = frozenset()
) -> tuple[Pixels, list[AppliedOperator]]:
    """Return the image after a sample of a policy without the ``removed`` operators, and that sample."""
    sampled = get_policy(name, removed).sample(rng)
    return apply_operators(sampled, image, rng), sampled


def at_level(name: str, operator: str, level: int, rng: np.random.Generator) -> AppliedOperator:
    """Return one operator of a policy at a level, counted from 1; InputError where either is not the policy's."""
    policy = get_policy(name)
    if not isinstance(policy, Sample):
        raise InputError(f"policy {name!r} has no levels")
    refuse_unknown(name, [operator])
    if level not in range(1, len(policy.weights) + 1):
        raise InputError(f"level {level} of {operator}: {name} has levels 1 to {len(policy.weights)}")
    return policy.at_level(operator, level, rng)
