"""The operators by name: pure functions ``(image, **parameters, rng) -> image`` on (H, W, 3) uint8 RGB."""

from collections.abc import Callable, Iterable
from typing import TypedDict

from aigid.degrade import blur, compression, effects, geometry, noise, resample, tone
from aigid.degrade.pixels import Pixels, Rng

OPERATORS: dict[str, Callable[..., Pixels]] = {
    # Used by several papers.
    "jpeg": compression.jpeg,
    "gaussian_blur": blur.gaussian_blur,
    "brightness": tone.brightness,
    "hflip": geometry.hflip,
    "vflip": geometry.vflip,
    "low_resolution": resample.low_resolution,
    "centre_crop": resample.centre_crop,
    "square": resample.square,
    # NTIRE basic, by its names.
    "gausblur": blur.truncated_gaussian_blur,
    "lensblur": blur.lens_blur,
    "colorshift": geometry.color_shift,
    "colorsat": tone.saturation,
    "whitenoise": noise.white_noise,
    "impulse": noise.impulse,
    "brighten": tone.brighten,
    "darken": tone.darken,
    "jitter": geometry.jitter,
    "quantization": tone.quantization,
    "lincontrchange": tone.contrast,
    # FeatDistill extra, by its names.
    "jpeg_blockiness": compression.jpeg,
    "compression_ringing": compression.ringing,
    "gif_quantization": compression.gif_quantization,
    "color_banding": tone.banding,
    "pixel_shuffle": geometry.pixel_shuffle,
    "motion_blur": blur.motion_blur,
    "defocus_blur": blur.lens_blur,
    "poisson": noise.poisson,
    "speckle": noise.speckle,
    "iso": noise.iso,
    "film_grain": noise.film_grain,
    "salt_and_pepper": noise.impulse,
    "color_bleed": geometry.color_bleed,
    "light_leak": effects.light_leak,
    "fading": effects.fading,
    "digital_glitch": geometry.digital_glitch,
    "water_drops": geometry.water_drops,
    "night_vision": effects.night_vision,
    "ghosting": geometry.ghosting,
    # DDA.
    "pepper": noise.pepper,
    "median_blur": blur.median_blur,
    "sharpen": blur.sharpen,
    "color_jitter": tone.color_jitter,
    "grayscale": tone.grayscale,
}

MOVES_PIXELS = frozenset(
    {"hflip", "vflip", "low_resolution", "centre_crop", "square", "jitter", "colorshift"}
    | {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}
)


class Drawn(TypedDict, total=False):
    """One operator with all that was drawn for it; ``level`` only where the policy has levels, counted from 1."""

    operator: str
    level: int
    parameters: dict[str, int | float]


def run(drawn: Iterable[Drawn], image: Pixels, rng: Rng = None) -> Pixels:
    """The image after the operators, in order; ``rng`` gives the noise fields, rounded to bytes after each."""
    assert image.dtype == "uint8", image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] == 3, image.shape
    for step in drawn:
        image = OPERATORS[step["operator"]](image, **step["parameters"], rng=rng)
    return image
