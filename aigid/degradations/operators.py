"""The operators by name, the ranges of their parameters, and the three forms of policy that sample them.

An operator is a pure function ``(image, **parameters, rng) -> image`` on (H, W, 3) uint8 RGB. The names of classes and
fields of policies stand in the definitions of views, which are part of cache keys.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypedDict, TypeVar

import numpy as np

from aigid.degradations import filters, pixels, spatial
from aigid.degradations.pixels import Pixels, RngOrNone

T = TypeVar("T")
# Those used under their own names, then aliases: NTIRE basic's, FeatDistill extra's.
_NAMED: tuple[Callable[..., Pixels], ...] = (
    *(filters.jpeg, filters.gaussian_blur, pixels.brightness, spatial.hflip, spatial.vflip),
    *(spatial.low_resolution, spatial.centre_crop, spatial.square),
    *(filters.impulse, pixels.brighten, pixels.darken, pixels.quantization),
    *(filters.gif_quantization, spatial.pixel_shuffle, filters.motion_blur, filters.poisson, filters.speckle),
    *(filters.iso, filters.film_grain, spatial.color_bleed, spatial.light_leak, spatial.fading),
    *(spatial.digital_glitch, spatial.water_drops, spatial.night_vision, spatial.ghosting),
    *(filters.pepper, filters.median_blur, filters.sharpen, pixels.color_jitter, pixels.grayscale),
)
OPERATORS: dict[str, Callable[..., Pixels]] = {operator.__name__: operator for operator in _NAMED} | {
    "gausblur": filters.truncated_gaussian_blur,
    "lensblur": filters.lens_blur,
    "colorshift": spatial.color_shift,
    "colorsat": pixels.saturation,
    "whitenoise": filters.white_noise,
    "jitter": spatial.pixel_jitter,
    "lincontrchange": pixels.contrast,
    "jpeg_blockiness": filters.jpeg,
    "compression_ringing": filters.ringing,
    "color_banding": pixels.banding,
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


class Uniform(NamedTuple):
    """A real number from [low, high)."""

    low: float
    high: float


class Whole(NamedTuple):
    """A whole number from low to high, both included."""

    low: int
    high: int


class Linear(NamedTuple):
    """From first (level 1) to last (the highest level) in equal steps; rounded where both ends are whole numbers."""

    first: float
    last: float


class Levels(NamedTuple):
    """The parameter's value at level 1, 2, ..."""

    values: tuple[float, ...]


Range: TypeAlias = Uniform | Whole | Linear | Levels | int | float
Ranges: TypeAlias = dict[str, Range]  # by parameter


class Chain(NamedTuple):
    """Stages ``(probability, (operator, ranges), ...)`` in order; of several operators one acts, all equally likely."""

    stages: tuple[tuple[Any, ...], ...] = ()

    def sample(self, rng: np.random.Generator, preserve_spatial_alignment: bool = False) -> list[AppliedOperator]:
        sampled: list[AppliedOperator] = []
        for probability, *choices in self.stages:
            acts = rng.random() < probability
            if preserve_spatial_alignment:
                choices = [choice for choice in choices if choice[0] not in GEOMETRIC]
            if acts and choices:
                name, ranges = _choice(choices, rng)
                sampled.append({"operator": name, "parameters": _parameters(ranges, rng)})
        return sampled


class Sample(NamedTuple):
    """1 to ``most`` groups without replacement, one operator of each, every one at a level of its own."""

    groups: dict[str, dict[str, Ranges]]
    weights: tuple[float, ...]  # of level 1, 2, ...; their ratios count
    most: int = 3

    def sample(self, rng: np.random.Generator, preserve_spatial_alignment: bool = False) -> list[AppliedOperator]:
        groups = [list(group) for group in self.groups.values()]
        if preserve_spatial_alignment:
            groups = [still for group in groups if (still := [name for name in group if name not in GEOMETRIC])]
        number = rng.integers(1, min(self.most, len(groups)), endpoint=True)
        chances = np.array(self.weights) / sum(self.weights)
        sampled: list[AppliedOperator] = []
        for index in rng.permutation(len(groups))[:number]:
            name = _choice(groups[index], rng)
            level = int(rng.choice(len(chances), p=chances)) + 1
            sampled.append(self.at_level(name, level, rng))
        return sampled

    def at_level(self, operator: str, level: int, rng: np.random.Generator) -> AppliedOperator:
        """Return the operator at a level that is in range; what its level leaves open is sampled."""
        ranges = next(group[operator] for group in self.groups.values() if operator in group)
        return {"operator": operator, "level": level, "parameters": _parameters(ranges, rng, level, len(self.weights))}


class Mixture(NamedTuple):
    """With a probability one of the policies, all equally likely; else the image stays as it is."""

    probability: float
    policies: "tuple[Policy, ...]"

    def sample(self, rng: np.random.Generator, preserve_spatial_alignment: bool = False) -> list[AppliedOperator]:
        if rng.random() >= self.probability:
            return []
        return _choice(self.policies, rng).sample(rng, preserve_spatial_alignment)


Policy: TypeAlias = Chain | Sample | Mixture


def fixed(operator: str, **parameters: int | float) -> Chain:
    """Return a policy of one operator with fixed parameters."""
    return Chain(((1, (operator, parameters)),))


def _choice(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _parameters(
    ranges: Ranges, rng: np.random.Generator, level: int = 1, num_levels: int = 1
) -> dict[str, int | float]:
    return {name: _value(range_, rng, level, num_levels) for name, range_ in ranges.items()}


def _value(range_: Range, rng: np.random.Generator, level: int, num_levels: int) -> int | float:
    match range_:
        case Uniform(low, high):
            return float(rng.uniform(low, high))
        case Whole(low, high):
            return int(rng.integers(low, high, endpoint=True))
        case Levels(values):
            return values[level - 1]
        case Linear(first, last):
            value = first + (last - first) * (level - 1) / (num_levels - 1)
            return round(value) if isinstance(first, int) and isinstance(last, int) else round(value, 6)
    return range_
