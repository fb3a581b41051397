"""Extraction against what a user would run instead, on the same images and the same CLIP ViT-B/16.

python -m benchmarks.peers [--images 16] [--large 6] [--rounds 3]

All ways take turns, so that ratios are of one run. *Plain*: torch in float32 behind a DataLoader with Pillow, as many
workers as cores. A peer that is not installed is left out and named; each takes part with its own reading, the encoder
is the same. `aigid weights fetch clip_vit_b16_int8 efficientnet_lite0` must have been run.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter

import click
import numpy as np
import onnxruntime
import torch
from PIL import Image
from rich.table import Table
from torch.utils.data import DataLoader

from aigid.core import manifest
from aigid.core.files import num_workers
from aigid.features import weights
from aigid.features.backbones import backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import EncoderLoader, extract
from aigid.features.reader import Reader, ReadRequest, ViewSpec
from benchmarks import pictures, record
from benchmarks.loops import Files
from benchmarks.onnx import cpu_name

SIZE, BATCH = 224, 16
QUANTIZED, PLAIN = "clip_vit_b16_int8", "torch float32, DataLoader with Pillow (plain)"
JOINT = (QUANTIZED, "efficientnet_lite0", "efficientnet_lite0_96")
PREPROCESS = backbone_settings(QUANTIZED).preprocess
BOUNDS = {512: 5.0, 3464: 3.0}  # of the pace of `decode: fast` against the plain loop, by the images' side
JOINT_BOUND = 0.9  # of the encoders' own time, of that of three from one decoding
Way = Callable[[Path], int]  # embeds all images of a folder and returns their number


def crop(image: Image.Image) -> np.ndarray:
    """The image as CLIP sees it, (224, 224, 3) uint8, by Pillow."""
    scale = SIZE / min(image.size)
    image = image.convert("RGB").resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - SIZE) // 2 for side in image.size)
    return np.array(image.crop((left, top, left + SIZE, top + SIZE)))


def ours(loader: EncoderLoader, names: Iterable[str], decode: str) -> Way:
    """`aigid extract` of backbones from one decoding, with an empty cache."""
    first, *others = (backbone_settings(name, {"decode": decode}) for name in names)

    def run(folder: Path) -> int:
        with tempfile.TemporaryDirectory() as cache:
            table = manifest.read(folder / "manifest.csv")
            extract(table, folder / "images", first, co_extract=others, loader=loader, cache_root=Path(cache))
        return len(table)

    return run


@torch.inference_mode()
def embed(encoder: TorchBackbone, pixels: torch.Tensor) -> torch.Tensor:
    """Embed (B, 224, 224, 3) uint8, without the padding that makes embeddings independent of their batch."""
    mean, std = torch.tensor(PREPROCESS.mean), torch.tensor(PREPROCESS.std)
    return encoder.network(((pixels / 255 - mean) / std).permute(0, 3, 1, 2))


def plain(encoder: TorchBackbone) -> Way:
    return lambda folder: sum(
        len(embed(encoder, pixels))
        for pixels in DataLoader(Files(folder / "images", crop), BATCH, num_workers=num_workers())
    )


def onnx_loop() -> Way:
    """As imgbeddings does it: Pillow in this process, batches to one session with ONNX Runtime's defaults."""
    path = weights.path_of(backbone_settings(QUANTIZED))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    mean, std = np.array(PREPROCESS.mean), np.array(PREPROCESS.std)

    def run(folder: Path) -> int:
        paths, num = sorted((folder / "images").iterdir()), 0
        for start in range(0, len(paths), BATCH):
            pixels = np.stack([crop(Image.open(path)) for path in paths[start : start + BATCH]]) / 255
            batch = ((pixels - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
            num += len(session.run(None, {session.get_inputs()[0].name: batch})[0])
        return num

    return run


def timm_loop(encoder: TorchBackbone) -> Way:
    """timm's validate.py: its dataset, its loader and its transform, around the encoder."""
    from timm.data import ImageDataset, create_loader

    def run(folder: Path) -> int:
        options = {"use_prefetcher": False, "interpolation": "bicubic", "crop_pct": 1.0, "num_workers": num_workers()}
        options |= {"mean": PREPROCESS.mean, "std": PREPROCESS.std, "device": torch.device("cpu")}
        loader = create_loader(ImageDataset(str(folder)), (3, SIZE, SIZE), BATCH, **options)
        with torch.inference_mode():
            return sum(len(encoder.network(pixels)) for pixels, _ in loader)

    return run


def clip_retrieval(encoder: TorchBackbone) -> Way:
    """clip-retrieval's own reader and mapper, around the encoder."""
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import FilesReader

    mapper = ClipMapper.__new__(ClipMapper)
    vars(mapper).update(enable_image=True, enable_text=False, enable_metadata=False, use_mclip=False, device="cpu")
    mapper.model_img = lambda pixels: embed(encoder, pixels).clone()

    def run(folder: Path) -> int:
        options = {"enable_text": False, "enable_image": True, "enable_metadata": False}
        reader = FilesReader(lambda keys: keys, crop, None, str(folder / "images"), BATCH, num_workers(), **options)
        return sum(len(mapper(batch)["image_embs"]) for batch in reader)

    return run


def ways() -> tuple[dict[str, Way], list[str]]:
    """What is compared, and a line for each peer that cannot take part."""
    encoder = TorchBackbone(backbone_settings("clip_vit_b16_dequantized"), torch.device("cpu"), BATCH)
    loader, missing = EncoderLoader(), []
    candidates: dict[str, Way] = {PLAIN: plain(encoder), "aigid extract": ours(loader, JOINT[:1], "exact")}
    candidates |= {
        "aigid extract, decode: fast": ours(loader, JOINT[:1], "fast"),
        "aigid extract, decode: draft": ours(loader, JOINT[:1], "draft"),
        "ONNX Runtime, Pillow loop": onnx_loop(),
    }
    for name, build in {
        "clip-retrieval's reader and mapper": clip_retrieval,
        "timm's validate loop": timm_loop,
    }.items():
        try:
            candidates[name] = build(encoder)
        except ImportError as error:
            missing.append(f"{name}: {str(error).partition(' (')[0]}")
    try:
        import imgbeddings  # noqa: F401
    except ImportError as error:
        missing.append(f"imgbeddings: {str(error).partition(' (')[0]}")
    return candidates, missing


def used() -> float:
    """Processor time of this process and of those that it waited for, in seconds."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def race(candidates: dict[str, Way], folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds an image by the clock and of the processor, by way, one pair a round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start, cpu = perf_counter(), used()
            num = run(folder)
            times[name].append(((perf_counter() - start) / num, (used() - cpu) / num))
            print(f"{folder.name} px, {name}: {perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return times


def bare(loader: EncoderLoader, folder: Path) -> Way:
    """The encoders of ``JOINT`` alone, one after the other, on the folder's pixels."""
    encoders = [loader.load(backbone_settings(name), 2) for name in JOINT]
    table = manifest.read(folder / "manifest.csv")
    specs = tuple(ViewSpec("clean", encoder.settings.preprocess) for encoder in encoders)
    requests = (ReadRequest(0, path, key, specs) for path, key in zip(table["path"], table["sha256"], strict=True))
    samples = [*Reader(folder / "images", 0).samples(requests, 1, 16)]
    inputs = [np.stack([sample.inputs[spec] for sample in samples]) for spec in specs]

    def run(_: Path) -> int:
        for encoder, pixels in zip(encoders, inputs, strict=True):
            encoder.encode(pixels)
        return len(samples)

    return run


def rows(times: dict[str, list[tuple[float, float]]], reference: str, what: str, bounds: dict[str, float]) -> list:
    """A row for each way: images a second, and the median of each round's ratios to the reference."""
    cells = []
    for name, measured in times.items():
        ratios = [np.divide(theirs, mine) for theirs, mine in zip(times[reference], measured, strict=True)]
        clock, processor = np.median(ratios, axis=0)
        pace = 1 / median(seconds for seconds, _ in measured)
        bound = bounds.get(name)
        verdict = "" if bound is None else f">= {bound:g}: {'yes' if clock >= bound else 'no'}"
        cells.append((what, name, f"{pace:.2f}", f"{clock:.2f}", f"{processor:.2f}", verdict))
    return cells


@click.command(help=__doc__)
@click.option("--images", default=16, show_default=True, help="JPEGs of 512 px.")
@click.option("--large", default=6, show_default=True, help="JPEGs of 12 megapixels.")
@click.option("--rounds", default=3, show_default=True, help="Each way once, in turn.")
@record.out_option
def main(images: int, large: int, rounds: int, out: Path) -> None:
    candidates, missing = ways()
    for line in missing:
        print(f"left out: {line}", file=sys.stderr)
    title = f"{cpu_name()}; {num_workers()} cores; {images} and {large} JPEGs; median of {rounds} rounds"
    table = Table("images", "way", "images/s", "pace", "pace by processor time", "bound", title=title)
    with tempfile.TemporaryDirectory() as scratch:
        for num, side in ((1, 256), (images, 512), (large, 3464)):
            folder = Path(scratch, str(side))
            folder.mkdir()
            pictures.write(folder, num, side)
            if num == 1:  # encoders are loaded
                race(candidates, folder, 1)
                continue
            chosen = candidates if side == 512 else dict(list(candidates.items())[:4])
            bounds = {"aigid extract, decode: fast": BOUNDS[side]}
            for row in rows(race(chosen, folder, rounds), PLAIN, f"JPEGs of {side} px", bounds):
                table.add_row(*row)
        folder, loader, alone = Path(scratch, "512"), EncoderLoader(), "three encoders alone, one after the other"
        three = {alone: bare(loader, folder), "aigid extract, one decoding": ours(loader, JOINT, "exact")}
        race(three, Path(scratch, "256"), 1)
        bounds = {"aigid extract, one decoding": JOINT_BOUND}
        for row in rows(race(three, folder, rounds), alone, f"{', '.join(JOINT)}", bounds):
            table.add_row(*row)
    for line in missing:
        table.add_row("", line.partition(":")[0], "", "", "", f"left out: {line.partition(': ')[2]}")
    record.publish(table, "peers", out, width=160)


if __name__ == "__main__":
    main()
