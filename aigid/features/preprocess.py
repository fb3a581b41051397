"""Image preprocessing for backbones: resize and crop as each model's authors do."""

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from aigid.core.errors import InputError, input_errors, parse_json, reason
from aigid.core.params import Settings
from aigid.images import ImageError, Status

logger = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MAX_RESIZED = 2**25  # pixels of a resized image, which a crop then leaves a square of
MEAN_STD_05 = (0.5, 0.5, 0.5)
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class Preprocess(Settings):
    """How an image becomes a backbone's input; ``mean`` and ``std`` are per channel on the scale 0 to 1.

    ``resize``: ``shortest`` scales the shorter side and crops the center (CLIP); ``squash`` ignores the aspect ratio
    (SigLIP); ``none`` crops the center and pads with black (UniversalFakeDetect's validation).
    """

    size: Annotated[int, Field(ge=8, le=2048)]
    resize: Literal["shortest", "squash", "none"] = "shortest"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = (
        1.0  # of the resized side that the crop keeps (timm's crop_pct)
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    @property
    def resized(self) -> int:
        """The side, in pixels, that the shorter one is scaled to; 0 where nothing is resized."""
        # a quotient of two whole numbers gives back the second
        return 0 if self.resize == "none" else int(self.size / self.crop_fraction + 1e-6)


def read_record(path: Path, source: object) -> dict[str, Any]:
    """Return the preprocessing by a ``preprocessor_config.json``; InputError where it is none, or says it oddly."""
    kinds = OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError
    with input_errors(f"{source}: a preprocessing that is not known here", *kinds):
        return parse_record(parse_json(path.read_text(encoding="utf-8")), source)


def parse_record(record: dict[str, Any], source: object) -> dict[str, Any]:
    """Return the preprocessing of a ``preprocessor_config.json`` of transformers; InputError for what it cannot be."""
    size, crop = record.get("size", {}), record.get("crop_size") if record.get("do_center_crop") else None
    sides = {"height": size, "width": size, "shortest_edge": size} if isinstance(size, int) else size
    final = crop if isinstance(crop, int) else (crop or sides).get("height", sides.get("shortest_edge"))
    resized = sides.get("shortest_edge", sides.get("height"))
    names = {number: name for name, number in INTERPOLATIONS.items()}
    interpolation = names.get(record.get("resample", Image.Resampling.BILINEAR))
    if not final or not resized or interpolation is None:
        raise InputError(f"{source}: a preprocessing that is not known here: {record}")
    return {
        "size": final,
        "resize": "shortest" if crop or isinstance(size, int) or "shortest_edge" in sides else "squash",
        "crop_fraction": final / resized,
        "interpolation": interpolation,
    } | (
        {"mean": record["image_mean"], "std": record["image_std"]}
        if record.get("do_normalize", True)
        else {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    )


def warn_of_contradictions(preprocess: Preprocess, weights: str | None) -> None:
    """Say where the preprocessing that the files beside local weights record is not the one that images get."""
    path = Path(weights or "/dev/null")
    for name, parse in (("preprocessor_config.json", parse_record), ("open_clip_config.json", _parse_open_clip)):
        file = (path if path.is_dir() else path.parent) / name
        if not file.is_file():
            continue
        try:
            recorded = Preprocess.model_validate(parse(parse_json(file.read_text(encoding="utf-8")), file))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            logger.warning("%s: cannot be compared with `preprocess`: %s", file, reason(error, 200))
            continue
        pairs = [(key, value, getattr(preprocess, key)) for key, value in recorded]
        if others := [f"{key} {theirs}, not {ours}" for key, theirs, ours in pairs if not _equal(theirs, ours)]:
            logger.warning("%s: these weights were trained with %s, as this backbone has it", file, "; ".join(others))


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b if isinstance(a, str) else np.allclose(a, b, atol=1e-4))


def _parse_open_clip(record: dict[str, Any], source: object) -> dict[str, Any]:
    """Return the preprocessing of an ``open_clip_config.json``."""
    known, size = record.get("preprocess_cfg", {}), record["model_cfg"]["vision_cfg"]["image_size"]
    names = {"resize_mode": "resize", "interpolation": "interpolation", "mean": "mean", "std": "std"}
    return {"size": size} | {ours: known[theirs] for theirs, ours in names.items() if known.get(theirs)}


def resample(image: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    """Resize (H, W, 3) uint8 to ``size`` (width, height) with Pillow."""
    return np.asarray(Image.fromarray(image).resize(size, INTERPOLATIONS[interpolation]))


def scale_shorter(width: int, height: int, short: int) -> tuple[int, int]:
    """Return width and height with a shorter side of ``short`` px; ImageError for over ``MAX_RESIZED`` pixels."""
    scaled = (int(short * width / min(width, height)), int(short * height / min(width, height)))
    if scaled[0] * scaled[1] > MAX_RESIZED:
        message = f"{width} x {height} at {short} px of the shorter side is {scaled[0]} x {scaled[1]}"
        raise ImageError(Status.TOO_MANY_PIXELS, f"{message}, limit {MAX_RESIZED} pixels")
    return scaled


def resize_and_crop(
    image: Pixels, preprocess: Preprocess, resample: Callable[[Pixels, tuple[int, int], str], Pixels] = resample
) -> Pixels:
    """Return (H, W, 3) uint8 as (size, size, 3) uint8, as torchvision's Resize and CenterCrop do on a PIL image.

    ImageError where a narrow image would become one of more than ``MAX_RESIZED`` pixels on the way.
    """
    height, width = image.shape[:2]
    size, scaled = preprocess.size, (width, height)
    if preprocess.resize == "squash":
        scaled = (preprocess.resized, preprocess.resized)
    elif preprocess.resize == "shortest":
        scaled = scale_shorter(width, height, preprocess.resized)
    if scaled != (width, height):
        image = resample(image, scaled, preprocess.interpolation)
    pads = [(max(size - side, 0) // 2, (max(size - side, 0) + 1) // 2) for side in image.shape[:2]]
    if any(map(any, pads)):
        image = np.pad(image, [*pads, (0, 0)])
    top, left = (round((side - size) / 2.0) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


class DecodeBackend(NamedTuple):
    """A function from pixels (H, W, 3) to (S, S, 3) uint8; whether no more of a JPEG is decoded than it needs."""

    to_square: Callable[[Pixels, Preprocess], Pixels]
    reduced: bool = False


def _resample_fast(image: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    """Resize with torch, the two passes in Pillow's order.

    Values differ from Pillow's by at most 1; where the scale is below 2, by 2 in a few of a million values.
    """
    import torch
    from torch.nn.functional import interpolate

    if interpolation == "nearest":
        return resample(image, size, interpolation)
    (height, width), (new_width, new_height) = image.shape[:2], size
    shrink = partial(interpolate, mode=interpolation, antialias=True, align_corners=False)
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]
    if _vertical_pass_first() and height - new_height > max(0, 2 * (width - new_width)):
        pixels = shrink(pixels, [new_height, width])
    pixels = shrink(pixels, [new_height, new_width])
    result: Pixels = pixels[0].permute(1, 2, 0).numpy()
    return result


@cache
def _vertical_pass_first() -> bool:
    """Return whether Pillow resizes the height first where it shrinks over twice as much as the width (Pillow 13).

    Values are rounded to bytes between the passes, so their order shows.
    """
    tall = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 8, 3)).astype(np.uint8))
    both, first = tall.resize((6, 10), Image.Resampling.BICUBIC), tall.resize((8, 10), Image.Resampling.BICUBIC)
    return both == first.resize((6, 10), Image.Resampling.BICUBIC)


def _to_square_fast(image: Pixels, preprocess: Preprocess) -> Pixels:
    return resize_and_crop(image, preprocess, _resample_fast)


DECODE_BACKENDS = {
    "exact": DecodeBackend(resize_and_crop),
    "fast": DecodeBackend(_to_square_fast),
    "draft": DecodeBackend(_to_square_fast, reduced=True),
}
