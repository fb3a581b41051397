"""OpenVINO in float32 against torch on the CPU: one image at a time, and in batches; ratios in the same run.

Needs `pip install openvino`. Encoders have random weights.
"""

from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np
import openvino
import torch
from rich.table import Table

from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.loaders import open_clip
from benchmarks import record

ROUNDS = 3
SECONDS = 0.3  # of each measurement


def encoders() -> dict[str, BackboneSettings]:
    """The encoders that are measured."""
    b16 = backbone_settings("clip_vit_b16")
    config = open_clip.architecture(b16.model)
    return {
        "tiny_clip": backbone_settings("tiny_clip"),
        "tiny_siglip": backbone_settings("tiny_siglip"),
        "CLIP ViT-B/16": b16.model_copy(update={"config": config}),
    }


def compiled(encoder: torch.nn.Module, pixels: torch.Tensor) -> openvino.CompiledModel:
    """The encoder for inputs of that shape, in float32."""
    model = openvino.convert_model(encoder, example_input=pixels, input=list(pixels.shape))
    return openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    )


def seconds(run: object) -> float:
    """Mean time of a call, over at least ``SECONDS``."""
    run()
    start, calls = perf_counter(), 0
    while perf_counter() - start < SECONDS:
        run()
        calls += 1
    return (perf_counter() - start) / calls


@click.command(help=__doc__)
@record.out_option
def main(out: Path) -> None:
    table = Table(
        "encoder", "batch", "torch, images/s", "OpenVINO / torch", "1 - cos", title=f"median of {ROUNDS} rounds"
    )
    for name, settings in encoders().items():
        encoder = TorchBackbone(settings, torch.device("cpu")).network
        for batch in (1, 64 if name.startswith("tiny") else 8):
            size = settings.preprocess.size
            pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
            other = compiled(encoder, pixels)
            with torch.inference_mode():
                first = encoder(pixels).numpy().astype(float)
                second = other(pixels.numpy())[0].astype(float)
                times = [
                    (seconds(lambda: encoder(pixels)), seconds(lambda: other(pixels.numpy())))  # noqa: B023
                    for _ in range(ROUNDS)
                ]
            cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
            ratio = median(ours / theirs for ours, theirs in times)
            rate = batch / median(ours for ours, _ in times)
            table.add_row(name, str(batch), f"{rate:.1f}", f"{ratio:.2f}", f"{1 - cosine.min():.0e}")
    record.publish(table, "openvino", out)


if __name__ == "__main__":
    main()
