"""benchmarks.extract --gpu: full-size encoders of random weights, as shares of the device's own GEMM rate.

Has not been run on a GPU yet; `--rehearse` runs the same code with tiny encoders on the CPU.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from aigid.core import manifest
from aigid.features.backbones import BackboneSettings, ConcatSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import extract
from aigid.features.loaders import open_clip, transformers
from benchmarks import extract as speed
from benchmarks import pictures

NAMES = ("clip_vit_l14", "clip_vit_l14_336", "siglip_so400m_14_384")
IMAGES, SECONDS = 4096, 3.0


def compare(folder: Path, rehearse: bool) -> Table:
    """Images/s of each encoder alone and of all in one pass, from JPEGs of 512 and 1024 px to the file."""
    device = torch.device("cpu" if rehearse else "cuda")
    encoders = [speed.tiny_clip(size, "fast") for size in speed.SIZES] if rehearse else [_full(name) for name in NAMES]
    num, side = (64, 256) if rehearse else (IMAGES, 8192)
    bound = _gemm(device, side)
    alone = {settings.model: _alone(settings, device, num) for settings in encoders}
    title = f"{device}: GEMM of {side}: {bound / 1e12:.1f} Tflop/s; random weights"
    table = Table("encoders", "JPEG px", "images/s", "of the GEMM bound", "of the encoders alone", title=title)
    for settings in encoders:
        rate, compiled, flops = alone[settings.model]
        table.add_row(f"{settings.model}, no images", "", f"{rate:.0f}", f"{rate * flops / bound:.0%}", "")
        table.add_row(
            f"{settings.model}, no images, compiled", "", f"{compiled:.0f}", f"{compiled * flops / bound:.0%}"
        )
    for pixels in (512, 1024):
        subfolder = folder / str(pixels)
        subfolder.mkdir()
        pictures.write(subfolder, num, pixels)
        for group in [[settings] for settings in encoders] + [encoders]:
            rate = _end_to_end(subfolder, group, num)
            flops = sum(alone[settings.model][2] for settings in group)
            busy = rate * sum(1 / alone[settings.model][0] for settings in group)
            name = " + ".join(settings.model for settings in group)
            table.add_row(name, str(pixels), f"{rate:.0f}", f"{rate * flops / bound:.0%}", f"{busy:.0%}")
    return table


def _full(name: str) -> BackboneSettings:
    settings = backbone_settings(name, {"decode": "fast"})
    library = open_clip if settings.library == "open_clip" else transformers
    return settings.model_copy(update={"config": library.architecture(settings.model)})


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _calls(work: Callable[[], object], device: torch.device) -> float:
    """Calls per second, after two that warm up."""
    work(), work(), _wait(device)
    start, calls = perf_counter(), 0
    while perf_counter() - start < SECONDS:
        work()
        calls += 1
        _wait(device)
    return calls / (perf_counter() - start)


def _gemm(device: torch.device, side: int) -> float:
    """flop/s of a square matrix product, on CUDA in float16."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 * _calls(lambda: left @ right, device)


def _alone(settings: BackboneSettings, device: torch.device, num: int) -> tuple[float, float, float]:
    """Images/s of an encoder on pixels that lie on the device, eager and compiled, and its flop an image."""
    backbone = TorchBackbone(settings, device)
    backbone.choose_batch(None, num)
    module = backbone._narrow if backbone.half else backbone.network
    dtype = torch.float16 if backbone.half else torch.float32
    size = settings.preprocess.size
    pixels = torch.zeros(backbone.batch, 3, size, size, device=device, dtype=dtype)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            module(pixels[:1])
        eager = _calls(lambda: module(pixels), device)
        compiled = torch.compile(module) if device.type == "cuda" else module
        return (
            eager * backbone.batch,
            _calls(lambda: compiled(pixels), device) * backbone.batch,
            counter.get_total_flops(),
        )


def _end_to_end(subfolder: Path, group: list[BackboneSettings], num: int) -> float:
    """Images/s from files to file, by rows that the cache cannot hold: each round has a seed of its own."""
    seed = int(np.random.default_rng().integers(2**31))
    settings = group[0] if len(group) == 1 else ConcatSettings(library="joint", parts=group)
    start = perf_counter()
    table = manifest.read(subfolder / "manifest.csv")
    extract(table, subfolder / "images", settings, seed=seed).write(subfolder / "out.h5")
    return num / (perf_counter() - start)
