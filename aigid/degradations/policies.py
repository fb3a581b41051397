"""The policies of the papers: which operators, how often, and from which ranges."""

from math import exp

import numpy as np

from aigid.core.errors import InputError
from aigid.degradations.operators import (
    AppliedOperator,
    Chain,
    Levels,
    Linear,
    Mixture,
    Policy,
    Ranges,
    Sample,
    Uniform,
    Whole,
    apply_operators,
    fixed,
)
from aigid.degradations.pixels import Pixels

# The official training pipeline of NTIRE 2026. Blur radii and shifts in px; noise on the unit scale.
NTIRE_BASIC = Sample(
    groups={
        "blur": {
            "gausblur": {"sigma": Levels((0.1, 0.5, 1, 2, 5))},
            "lensblur": {"radius": Levels((1, 2, 4, 6, 8))},
        },
        "color": {
            "colorshift": {"distance": Levels((1, 3, 6, 8, 12)), "angle": Uniform(0, 360)},
            "colorsat": {"factor": Levels((0.4, 0.2, 0.1, 0, -0.4))},
        },
        "jpeg": {"jpeg": {"quality": Levels((43, 36, 24, 7, 4))}},
        "noise": {
            "whitenoise": {"variance": Levels((0.001, 0.002, 0.003, 0.005, 0.01))},
            "impulse": {"density": Levels((0.001, 0.005, 0.01, 0.02, 0.03))},
        },
        "brightness": {
            "brighten": {"amount": Levels((0.1, 0.2, 0.4, 0.7, 1.1))},
            "darken": {"amount": Levels((0.05, 0.1, 0.2, 0.4, 0.8))},
        },
        "spatial": {
            "jitter": {"deviation": Levels((0.05, 0.1, 0.2, 0.5, 1))},
            "quantization": {"levels": Levels((20, 16, 13, 10, 7))},
        },
        "contrast": {"lincontrchange": {"change": Levels((0, 0.15, -0.4, 0.3, -0.6))}},
    },
    weights=tuple(exp(-(i**2) / (2 * 2.5**2)) for i in range(5)),  # 0.293, 0.270, 0.213, 0.143, 0.081
)

# The released code of FeatDistill: 19 operators, 15 levels, all equally likely.
_FEATDISTILL: dict[str, Ranges] = {
    "jpeg_blockiness": {"quality": Linear(40, 5)},
    "compression_ringing": {"threshold": Linear(0.05, 0.3)},
    "gif_quantization": {"colors": Linear(128, 16)},
    "color_banding": {"bits": Linear(7, 3)},
    "pixel_shuffle": {"share": Linear(0.01, 0.1)},
    "motion_blur": {"half": Linear(2, 10), "angle": Uniform(0, 360)},  # kernels of 5 to 21 px
    "defocus_blur": {"radius": Linear(1.0, 5.0)},
    "poisson": {"peak": Linear(100.0, 10.0)},
    "speckle": {"variance": Linear(0.01, 0.15)},
    "iso": {"sensitivity": Linear(400, 6400)},
    "film_grain": {"deviation": Linear(0.02, 0.15)},
    "salt_and_pepper": {"density": Linear(0.005, 0.05)},
    "color_bleed": {"distance": Linear(1, 6)},
    "light_leak": {"strength": Linear(0.1, 0.6), "angle": Uniform(0, 360)},
    "fading": {"strength": Linear(0.1, 0.6)},
    "digital_glitch": {"amount": Linear(0.05, 0.25)},
    "water_drops": {"amount": Linear(0.1, 0.8)},
    "night_vision": {"strength": Linear(0.2, 1.0)},
    "ghosting": {"dx": Linear(2, 15), "alpha": Linear(0.1, 0.4)},
}
FEATDISTILL_EXTRA = Sample(groups={name: {name: ranges} for name, ranges in _FEATDISTILL.items()}, weights=(1,) * 15)

# UniversalFakeDetect's training augmentation.
UFD = Chain(((0.5, ("gaussian_blur", {"sigma": Uniform(0, 3)})), (0.5, ("jpeg", {"quality": Whole(30, 100)}))))

# Dual Data Alignment, its operators on one image; those on a pair (pixel and DCT mix, the real's own JPEG quality)
# belong to aligned training. Gaussian kernels of 3 and 5 px have OpenCV's sigma 0.3 ((size - 1) / 2 - 1) + 0.8.
_COLOR_JITTER = dict.fromkeys(("brightness", "contrast", "saturation"), Uniform(0.6, 1.4)) | {
    "hue": Uniform(-0.175, 0.175)
}
DDA_TRAIN = Chain(
    (
        (0.15, ("jpeg", {"quality": Whole(55, 100)})),
        (0.5, ("hflip", {})),
        (0.5, ("vflip", {})),
        (0.1, ("whitenoise", {"variance": (55 / 255) ** 2})),
        (0.1, ("pepper", {"density": Uniform(0.01, 0.1)})),
        (
            0.2,
            ("gaussian_blur", {"sigma": 0.8, "radius": 1}),
            ("gaussian_blur", {"sigma": 1.1, "radius": 2}),
            ("median_blur", {"size": 3}),
            ("motion_blur", {"half": 2, "angle": Uniform(0, 180)}),
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

# NYCU's CLIP-SVM: every image becomes eight. Noise has a deviation of 0.1; the last three apply right to left as in
# brightness(noise(image)).
_BRIGHTNESS = (1, ("brightness", {"factor": Uniform(0.3, 1.7)}))
_NOISE = (1, ("whitenoise", {"variance": 0.01}))
_JPEG = (1, ("jpeg", {"quality": 75}))
NYCU_AUG_0_TO_7 = {
    "nycu_aug0": Chain(),
    "nycu_aug1": fixed("hflip"),
    "nycu_aug2": Chain((_BRIGHTNESS,)),
    "nycu_aug3": Chain((_NOISE,)),
    "nycu_aug4": Chain((_JPEG,)),
    "nycu_aug5": Chain((_NOISE, _BRIGHTNESS)),
    "nycu_aug6": Chain((_JPEG, _BRIGHTNESS)),
    "nycu_aug7": Chain((_JPEG, _NOISE)),
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

POLICIES: dict[str, Policy] = {
    "ntire_basic": NTIRE_BASIC,
    "featdistill_extra": FEATDISTILL_EXTRA,
    "featdistill": Mixture(0.8, (FEATDISTILL_EXTRA, NTIRE_BASIC)),
    "ufd": UFD,
    "dda": DDA_TRAIN,
    "genimage": Mixture(1, tuple(GENIMAGE_SIX.values())),
    "nycu": Mixture(1, tuple(NYCU_AUG_0_TO_7.values())),
    "nycu_sweep": Mixture(1, tuple(NYCU_SWEEP.values())),
}


def get_policy(name: str) -> Policy:
    """Return the policy of that name; InputError lists the known ones."""
    if name not in POLICIES:
        raise InputError(f"unknown policy {name!r}; known: {', '.join(sorted(POLICIES))}")
    return POLICIES[name]


def apply_policy(
    name: str, image: Pixels, rng: np.random.Generator, preserve_spatial_alignment: bool = False
) -> tuple[Pixels, list[AppliedOperator]]:
    """Return the image after a sample of a policy, and that sample; aligned, no operator moves a pixel."""
    sampled = get_policy(name).sample(rng, preserve_spatial_alignment)
    return apply_operators(sampled, image, rng), sampled


def at_level(name: str, operator: str, level: int, rng: np.random.Generator) -> AppliedOperator:
    """Return one operator of a policy at a level, counted from 1; InputError where either is not the policy's."""
    policy = get_policy(name)
    if not isinstance(policy, Sample):
        raise InputError(f"policy {name!r} has no levels")
    known = [known for group in policy.groups.values() for known in group]
    if operator not in known:
        raise InputError(f"unknown operator {operator!r} of {name}; known: {', '.join(sorted(known))}")
    if level not in range(1, len(policy.weights) + 1):
        raise InputError(f"level {level} of {operator}: {name} has levels 1 to {len(policy.weights)}")
    return policy.at_level(operator, level, rng)
