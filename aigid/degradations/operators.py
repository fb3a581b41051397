"""The operators by name, the ranges of their parameters, and the three forms of policy that sample them.

An operator is a pure function ``(image, **parameters, rng) -> image`` on (H, W, 3) RGB. The names of classes and fields
of policies stand in the definitions of views, which are part of cache keys.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from aigid.degradations import basic, edits, extra, filters, pixels
from aigid.degradations.pixels import Pixels, RngOrNone, to_float, to_uint8

T = TypeVar("T")
Operator: TypeAlias = Callable[..., NDArray[Any]]
_UNIT: tuple[Operator, ...] = (  # of NTIRE 2026 and FeatDistill, under their published names
    *(basic.gausblur, basic.lensblur, basic.colorshift, basic.colorsat, filters.whitenoise, filters.impulsenoise),
    *(basic.brighten, basic.darken, basic.jitter, basic.quantization, basic.lincontrchange),
    *(extra.jpeg_blockiness, extra.compression_ringing, extra.gif_quantization, extra.color_banding),
    *(extra.pixel_shuffle, extra.motion_blur, extra.defocus_blur, filters.poisson_noise, filters.speckle_noise),
    *(filters.iso_noise, filters.film_grain, filters.salt_and_pepper, extra.color_bleed, extra.light_leak),
    *(extra.fading, extra.digital_glitch, extra.water_drops, extra.night_vision, extra.ghosting),
    *(edits.bilateral, edits.white_balance, edits.tone_map, edits.portrait_blur),  # our own
    *(edits.moire, edits.gamma),
)
_BYTES: tuple[Operator, ...] = (  # of DDA, UniversalFakeDetect, GenImage, NYCU, and our own
    *(filters.gaussian_blur, filters.dda_gaussian_blur, filters.median_blur, filters.dda_motion_blur, filters.sharpen),
    *(filters.gaussian_noise, filters.pepper, pixels.brightness, pixels.grayscale, pixels.color_jitter),
    *(pixels.hflip, pixels.vflip, pixels.low_resolution, pixels.resize, pixels.centre_crop, pixels.square),
    *(pixels.fit, pixels.letterbox, edits.upscale, edits.watermark, edits.text_overlay, edits.collage),
    edits.perspective,
)
UNIT_OPERATORS = {operator.__name__: operator for operator in _UNIT}  # take float32 in [0, 1]
BYTE_OPERATORS = {operator.__name__: operator for operator in _BYTES}  # take uint8
OPERATORS: dict[str, Operator] = {"jpeg": filters.jpeg} | UNIT_OPERATORS | BYTE_OPERATORS  # jpeg takes either
GEOMETRIC = frozenset(  # move pixels: FeatDistill's own list, and those of other sources
    {"hflip", "vflip", "low_resolution", "resize", "centre_crop", "square", "fit", "letterbox", "upscale", "collage"}
    | {"jitter", "colorshift", "perspective"}
    | {"pixel_shuffle", "digital_glitch", "ghosting", "color_bleed", "water_drops"}
)


class AppliedOperator(TypedDict, total=False):
    """An operator with its sampled parameters; ``level`` only where the policy has levels, counted from 1."""

    operator: str
    level: int
    parameters: dict[str, int | float | str]


def apply_operators(sampled: Iterable[AppliedOperator], image: Pixels, rng: RngOrNone = None) -> Pixels:
    """Return (H, W, 3) uint8 after the operators in order; ``rng`` gives the noise fields.

    Values stay float32, clipped to [0, 1], from one operator of unit values to the next; they are rounded where one of
    bytes follows, and at the end. `jpeg` rounds down what is no bytes.
    """
    assert image.dtype == "uint8", image.dtype
    assert image.ndim == 3, image.shape
    assert image.shape[2] == 3, image.shape
    values: NDArray[Any] = image
    for step in sampled:
        name = step["operator"]
        if name in UNIT_OPERATORS and values.dtype == "uint8":
            values = to_float(values)
        elif name in BYTE_OPERATORS and values.dtype != "uint8":
            values = to_uint8(values)
        values = OPERATORS[name](values, **step["parameters"], rng=rng)
        if name in UNIT_OPERATORS:
            np.clip(values, 0, 1, out=values)
    return values if values.dtype == "uint8" else to_uint8(values)


class Uniform(NamedTuple):
    """A real number from [low, high)."""

    low: float
    high: float


class Integer(NamedTuple):
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


Range: TypeAlias = Uniform | Integer | Linear | Levels | int | float | str
Ranges: TypeAlias = dict[str, Range]  # by parameter


class Chain(NamedTuple):
    """Stages ``(probability, (operator, ranges), ...)`` in order; of several operators one acts, all equally likely."""

    stages: tuple[tuple[Any, ...], ...] = ()

    def sample(self, rng: np.random.Generator) -> list[AppliedOperator]:
        sampled: list[AppliedOperator] = []
        for probability, *choices in self.stages:
            if rng.random() < probability:
                name, ranges = _choice(choices, rng)
                sampled.append({"operator": name, "parameters": _parameters(ranges, rng)})
        return sampled

    def operators(self) -> list[str]:
        return [name for _, *choices in self.stages for name, _ in choices]

    def without(self, removed: Collection[str]) -> "Chain":
        stages = ((chance, *(pair for pair in choices if pair[0] not in removed)) for chance, *choices in self.stages)
        return Chain(tuple(stage for stage in stages if len(stage) > 1))


class Sample(NamedTuple):
    """1 to ``max_operators`` groups without replacement, one operator of each, every one at a level of its own."""

    groups: dict[str, dict[str, Ranges]]
    weights: tuple[float, ...]  # of level 1, 2, ...; their ratios count
    max_operators: int = 3

    def sample(self, rng: np.random.Generator) -> list[AppliedOperator]:
        groups = [list(group) for group in self.groups.values()]
        number = rng.integers(1, min(self.max_operators, len(groups)), endpoint=True)
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

    def operators(self) -> list[str]:
        return [name for group in self.groups.values() for name in group]

    def without(self, removed: Collection[str]) -> "Sample":
        groups = {
            key: {name: ranges for name, ranges in group.items() if name not in removed}
            for key, group in self.groups.items()
        }
        return self._replace(groups={key: group for key, group in groups.items() if group})


class Mixture(NamedTuple):
    """With a probability one of the policies, all equally likely; else the image stays as it is."""

    probability: float
    policies: "tuple[Policy, ...]"

    def sample(self, rng: np.random.Generator) -> list[AppliedOperator]:
        return _choice(self.policies, rng).sample(rng) if rng.random() < self.probability else []

    def operators(self) -> list[str]:
        return [name for policy in self.policies for name in policy.operators()]

    def without(self, removed: Collection[str]) -> "Mixture":
        rest = ((policy, policy.without(removed)) for policy in self.policies)
        return self._replace(policies=tuple(new for old, new in rest if new.operators() or not old.operators()))


Policy: TypeAlias = Chain | Sample | Mixture


def fixed(operator: str, **parameters: int | float) -> Chain:
    """Return a policy of one operator with fixed parameters."""
    return Chain(((1, (operator, parameters)),))


def chain(*steps: tuple[str, Mapping[str, Range]]) -> Chain:
    """Return a policy of operators with their parameters, one after the other."""
    return Chain(tuple((1, step) for step in steps))


def _choice(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _parameters(
    ranges: Ranges, rng: np.random.Generator, level: int = 1, num_levels: int = 1
) -> dict[str, int | float | str]:
    return {name: _value(range_, rng, level, num_levels) for name, range_ in ranges.items()}


def _value(range_: Range, rng: np.random.Generator, level: int, num_levels: int) -> int | float | str:
    match range_:
        case Uniform(low, high):
            return float(rng.uniform(low, high))
        case Integer(low, high):
            return int(rng.integers(low, high, endpoint=True))
        case Levels(values):
            return values[level - 1]
        case Linear(first, last):
            value = first + (last - first) * (level - 1) / (num_levels - 1)
            return round(value) if isinstance(first, int) and isinstance(last, int) else round(value, 12)
    return range_
