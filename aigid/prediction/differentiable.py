"""A bundle in torch, with gradients from pixels to the score; its head is the graph that `aigid export` writes."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import interpolate

from aigid.core.errors import InputError
from aigid.detectors.gate import GatedFusion
from aigid.detectors.gendet.detector import GenDet
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import load_encoder, normalize
from aigid.features.preprocess import resize_and_crop
from aigid.prediction.export_graph import add_head
from aigid.prediction.graph_builder import GraphBuilder
from aigid.prediction.predict import Predictor

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
        remedy = "attack it by transfer from another encoder"
        raise InputError(f"{settings.model}: no gradients: {error}; {remedy}") from None

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


EPS = 1e-12  # a score's distance from 0 and 1 in its logit
OPERATORS: dict[str, Callable[..., Any]] = {  # of heads, as ONNX defines them
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Sum": lambda *terms: sum(terms),
    "Exp": torch.exp,
    "Log": torch.log,
    "Neg": torch.neg,
    "Sqrt": torch.sqrt,
    "Clip": torch.clamp,
    "Cast": lambda x, to: x.to(torch.from_numpy(helper.tensor_dtype_to_np_dtype(to).type(0).reshape(1)).dtype),
    "ReduceSum": lambda x, axes, keepdims: x.sum(axes.tolist(), keepdim=bool(keepdims)),
    "Gather": lambda x, indices, axis: x.index_select(axis, indices),
    "TopK": lambda x, k: torch.topk(x, int(k)),
}


def differentiable_logit(predictor: Predictor) -> Callable[[Images], Tensor]:
    """Return the function of images to the logits (B,) float64 of their scores.

    InputError for a detector without gradients, or with an encoder that has none.
    """
    head = head_function(predictor.model.detector, predictor.model.name)
    encoders = [differentiable_encoder(part) for part in predictor.scorer.backbones]

    def logit(images: Images) -> Tensor:
        score = head(torch.cat([encode(images) for encode in encoders], dim=1))
        return torch.logit(score.double(), EPS)

    return logit


def head_function(detector: Any, name: str) -> Callable[[Tensor], Tensor]:
    """Return the function of embeddings (B, D) float32 to P(generated) (B,); InputError where it has no gradients."""
    if isinstance(detector, GenDet | GatedFusion):
        return cast(nn.Module, detector.network if isinstance(detector, GenDet) else detector.head)
    g = GraphBuilder()
    try:
        output = add_head(g, detector, "x")
    except InputError:
        raise InputError(
            f"detector {name}: has no gradients; attack it by transfer: `sources` without detector, from the surrogate"
        ) from None
    constants = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in g.initializers}

    def run(x: Tensor) -> Tensor:
        values = constants | {"x": x}
        for node in g.nodes:
            attributes = {field.name: helper.get_attribute_value(field) for field in node.attribute}
            result = OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
            outputs = result if isinstance(result, tuple) else (result,)
            values |= dict(zip(node.output, outputs, strict=True))
        return values[output][:, 0]

    return run
