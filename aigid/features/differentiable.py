"""Encoders with gradients from pixels to embeddings, for attacks."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import load_encoder, normalize
from aigid.features.preprocess import resize_and_crop

Images = Sequence[Tensor]  # (H, W, 3) float32 in [0, 255] each


def differentiable_encoder(settings: BackboneSettings) -> Callable[[Images], Tensor]:
    """Return the function of images to embeddings (B, D) float32; a CLIP in ONNX is taken as its copy in torch.

    Unlike extraction it rounds no pixels, quantizes no activations and stores nothing in float16. InputError for an
    ONNX file that has no copy.
    """
    if settings.library == "onnx":
        settings = settings.model_copy(update={"library": "transformers", "output": None})
    try:
        network = load_encoder(settings).requires_grad_(False)
    except InputError as error:
        raise InputError(
            f"{settings.model}: no gradients: {error}; attack it by transfer from another encoder"
        ) from None

    def encode(images: Images) -> Tensor:
        squares = torch.stack([_to_square(image, settings) for image in images])
        embeddings: Tensor = network(normalize(squares, settings.preprocess, squares.device))
        return embeddings.float()

    return encode


def _to_square(image: Tensor, settings: BackboneSettings) -> Tensor:
    """Return (S, S, 3) as ``resize_and_crop`` does, but not rounded between or after the passes."""
    size = settings.preprocess.size
    if settings.preprocess.resize == "none" and min(image.shape[:2]) < size:
        raise InputError(f"an image of {image.shape[1]} x {image.shape[0]}: its border to {size} px has no gradient")
    return cast(Tensor, resize_and_crop(cast(Any, image), settings.preprocess, cast(Any, _resample)))


def _resample(image: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    options: dict[str, Any] = {} if interpolation == "nearest" else {"antialias": True, "align_corners": False}
    resized = interpolate(image.movedim(2, 0)[None], size[::-1], mode=interpolation, **options)
    return resized[0].movedim(0, 2).clamp(0, 255)
