"""The operators by name: pure functions ``(image, **parameters, rng) -> image`` on (H, W, 3) uint8 RGB."""

from collections.abc import Callable, Iterable
from typing import TypedDict

from aigid.degradations import color, filters, pixels, spatial
from aigid.degradations.pixels import Pixels, RngOrNone

# Those used under their own names, then aliases: NTIRE basic's, FeatDistill extra's.
_NAMED: tuple[Callable[..., Pixels], ...] = (
    *(filters.jpeg, filters.gaussian_blur, color.brightness, spatial.hflip, spatial.vflip),
    *(pixels.low_resolution, pixels.centre_crop, pixels.square),
    *(filters.impulse, color.brighten, color.darken, color.quantization),
    *(filters.gif_quantization, spatial.pixel_shuffle, filters.motion_blur, filters.poisson, filters.speckle),
    *(filters.iso, filters.film_grain, spatial.color_bleed, spatial.light_leak, spatial.fading),
    *(spatial.digital_glitch, spatial.water_drops, spatial.night_vision, spatial.ghosting),
    *(filters.pepper, filters.median_blur, filters.sharpen, color.color_jitter, color.grayscale),
)
OPERATORS: dict[str, Callable[..., Pixels]] = {operator.__name__: operator for operator in _NAMED} | {
    "gausblur": filters.truncated_gaussian_blur,
    "lensblur": filters.lens_blur,
    "colorshift": spatial.color_shift,
    "colorsat": color.saturation,
    "whitenoise": filters.white_noise,
    "jitter": spatial.pixel_jitter,
    "lincontrchange": color.contrast,
    "jpeg_blockiness": filters.jpeg,
    "compression_ringing": filters.ringing,
    "color_banding": color.banding,
    "defocus_blur": filters.lens_blur,
    "salt_and_pepper": filters.impulse,
}
GEOMETRIC = frozenset(
    {"hflip", "vflip", "low_resolution", "centre_crop", "square", "jitter", "colorshift"}
    | {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}
)


class AppliedOperator(TypedDict, total=False):
    """An operator with its sampled parameters; ``level`` only where the policy has levels, counted from 1."""

    operator: str
    level: int
    parameters: dict[str, int | float]


def apply_operators(sampled: Iterable[AppliedOperator], image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Apply the operators in order, rounding to bytes after each; ``rng`` gives the noise fields."""
    assert image.dtype == "uint8", image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] == 3, image.shape
    for step in sampled:
        image = OPERATORS[step["operator"]](image, **step["parameters"], rng=rng)
    return image
