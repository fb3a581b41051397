"""The operators by name: pure functions ``(image, **parameters, rng) -> image`` on (H, W, 3) uint8 RGB."""

from collections.abc import Callable, Iterable
from typing import TypedDict

from aigid.degradations import color, filters, pixels, spatial
from aigid.degradations.pixels import Pixels, RngOrNone

OPERATORS: dict[str, Callable[..., Pixels]] = {
    # Used by several papers.
    "jpeg": filters.jpeg,
    "gaussian_blur": filters.gaussian_blur,
    "brightness": color.brightness,
    "hflip": spatial.hflip,
    "vflip": spatial.vflip,
    "low_resolution": pixels.low_resolution,
    "centre_crop": pixels.centre_crop,
    "square": pixels.square,
    # NTIRE basic, by its names.
    "gausblur": filters.truncated_gaussian_blur,
    "lensblur": filters.lens_blur,
    "colorshift": spatial.color_shift,
    "colorsat": color.saturation,
    "whitenoise": filters.white_noise,
    "impulse": filters.impulse,
    "brighten": color.brighten,
    "darken": color.darken,
    "jitter": spatial.pixel_jitter,
    "quantization": color.quantization,
    "lincontrchange": color.contrast,
    # FeatDistill extra, by its names.
    "jpeg_blockiness": filters.jpeg,
    "compression_ringing": filters.ringing,
    "gif_quantization": filters.gif_quantization,
    "color_banding": color.banding,
    "pixel_shuffle": spatial.pixel_shuffle,
    "motion_blur": filters.motion_blur,
    "defocus_blur": filters.lens_blur,
    "poisson": filters.poisson,
    "speckle": filters.speckle,
    "iso": filters.iso,
    "film_grain": filters.film_grain,
    "salt_and_pepper": filters.impulse,
    "color_bleed": spatial.color_bleed,
    "light_leak": spatial.light_leak,
    "fading": spatial.fading,
    "digital_glitch": spatial.digital_glitch,
    "water_drops": spatial.water_drops,
    "night_vision": spatial.night_vision,
    "ghosting": spatial.ghosting,
    # DDA.
    "pepper": filters.pepper,
    "median_blur": filters.median_blur,
    "sharpen": filters.sharpen,
    "color_jitter": color.color_jitter,
    "grayscale": color.grayscale,
}

GEOMETRIC = frozenset(
    {"hflip", "vflip", "low_resolution", "centre_crop", "square", "jitter", "colorshift"}
    | {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}
)


class AppliedOperator(TypedDict, total=False):
    """One operator with all that was drawn for it; ``level`` only where the policy has levels, counted from 1."""

    operator: str
    level: int
    parameters: dict[str, int | float]


def apply_operators(drawn: Iterable[AppliedOperator], image: Pixels, rng: RngOrNone = None) -> Pixels:
    """The image after the operators, in order; ``rng`` gives the noise fields, rounded to bytes after each."""
    assert image.dtype == "uint8", image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] == 3, image.shape
    for step in drawn:
        image = OPERATORS[step["operator"]](image, **step["parameters"], rng=rng)
    return image
