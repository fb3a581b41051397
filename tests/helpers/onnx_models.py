"""Small image encoders in ONNX, exported from transformers' as optimum does, and quantized by ONNX Runtime."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from tests.helpers.tiny_models import CLIP_VISION


class _ImageEncoder(nn.Module):
    """CLIP's image encoder that returns embeddings and the tokens of its last block."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = self.vision_model(pixel_values=pixels)
        return self.visual_projection(output.pooler_output), output.last_hidden_state


def random_clip(config: Mapping[str, object] = CLIP_VISION, seed: int = 0) -> nn.Module:
    """Return transformers' CLIPVisionModelWithProjection whose biases and norms are random, too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.CLIPVisionModelWithProjection(transformers.AutoConfig.for_model(**config))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def export_clip(model: nn.Module, path: Path, batch: int | None = None) -> Path:
    """Write an image encoder of ``random_clip``; ``batch`` fixes the number of images."""
    size = model.config.image_size
    export(_ImageEncoder(model).eval(), path, (batch or 1, 3, size, size), ["image_embeds", "tokens"], batch is None)
    return path


def export(network: nn.Module, path: Path, shape: tuple[int, ...], outputs: list[str], free_batch: bool = True) -> Path:
    """Write a network as torch's exporter of graphs with named scopes does."""
    axes = {"pixel_values": {0: "batch"}} if free_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(shape),),
            path,
            dynamo=False,
            input_names=["pixel_values"],
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
        )
    return path


def quantize(path: Path, target: Path) -> Path:
    """Write a copy whose matrices are int8 by column, and whose activations are quantized as they come."""
    quantize_dynamic(path, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    return target
