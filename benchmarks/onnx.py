"""CLIP ViT-B/16 in 8 bits by ONNX Runtime against the same weights in torch: pace, processor time and embeddings.

IMAGES is a folder of photographs. All ways run in turn, so that ratios are of one run. `aigid weights fetch
clip_vit_b16_int8` must have been run.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import click
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.table import Table

from aigid.core.files import num_workers
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.loaders.onnx import OnnxBackbone
from aigid.features.preprocess import resize_and_crop
from aigid.images.decode import decode
from benchmarks import record

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")  # what the paces depend on
ROUNDS = 5
BATCH = 8  # images at a time, for both libraries
Embeddings = NDArray[np.float32]
Encode = Callable[[NDArray[np.uint8]], Embeddings]


def cpu_name() -> str:
    """The processor's name, and which instructions for 8 and 16 bits it has."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    flags = fields.get("flags", "").split()
    known = [flag for flag in FLAGS if flag in flags]
    return f"{fields.get('model name', 'unknown processor')} ({', '.join(known)})"


def saturating(settings: BackboneSettings) -> OnnxBackbone:
    """The backbone without exact products of integers, as ONNX Runtime's defaults have it."""
    backbone = OnnxBackbone(settings)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    backbone._session = onnxruntime.InferenceSession(str(backbone.path), options, providers=["CPUExecutionProvider"])
    return backbone


def ways() -> dict[str, Encode]:
    """What is compared; bfloat16 only where the processor multiplies it."""
    quantized = backbone_settings("clip_vit_b16_int8")
    same = backbone_settings("clip_vit_b16_dequantized")
    assert isinstance(quantized, BackboneSettings)
    assert isinstance(same, BackboneSettings)
    cpu = torch.device("cpu")
    encoders: dict[str, Encode] = {
        "ONNX Runtime int8": OnnxBackbone(quantized).encode,
        "ONNX Runtime int8, defaults": saturating(quantized).encode,
        "torch float32": TorchBackbone(same, cpu, BATCH).encode,
    }
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        narrow = same.model_copy(update={"precision": "bfloat16"})
        encoders["torch bfloat16"] = TorchBackbone(narrow, cpu, BATCH).encode
    return encoders


def load_images(folder: Path, num: int) -> NDArray[np.uint8]:
    """The first photographs by name, as the encoder sees them."""
    preprocess = backbone_settings("clip_vit_b16_int8").preprocess  # type: ignore[union-attr]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    chosen = paths[:: max(len(paths) // num, 1)][:num]
    return np.stack([resize_and_crop(decode(path.read_bytes()), preprocess) for path in chosen])


def cosines(first: Embeddings, second: Embeddings) -> Embeddings:
    """The cosine of each pair of rows."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    result: Embeddings = (first * second).sum(axis=1) / norms
    return result


@click.command(help=__doc__)
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--num", default=64, show_default=True, help="Photographs whose embeddings are compared.")
@record.out_option
def main(images: Path, num: int, out: Path) -> None:
    pixels = load_images(images, num)
    encoders = ways()
    wall: dict[str, list[float]] = {name: [] for name in encoders}
    cpu: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(ROUNDS):
        for name, encode in encoders.items():
            start, used = perf_counter(), process_time()
            encode(pixels[:BATCH])
            wall[name].append((perf_counter() - start) / BATCH)
            cpu[name].append((process_time() - used) / BATCH)
    reference = encoders["torch float32"](pixels)
    table = Table(
        "encoder", "images/s", "pace to torch float32", "core-seconds an image", "cosine, mean", "cosine, least",
        title=f"{cpu_name()}; {num_workers()} threads; {len(pixels)} photographs; median of {ROUNDS} rounds",
    )  # fmt: skip
    for name, encode in encoders.items():
        cosine = cosines(encode(pixels), reference)
        pace = median(theirs / ours for ours, theirs in zip(wall[name], wall["torch float32"], strict=True))
        cells = (f"{1 / median(wall[name]):.1f}", f"{pace:.2f}", f"{median(cpu[name]):.3f}")
        table.add_row(name, *cells, f"{cosine.mean():.4f}", f"{cosine.min():.4f}")
    record.publish(table, "onnx_vnni" if "vnni" in cpu_name() else "onnx", out, width=140)


if __name__ == "__main__":
    main()
