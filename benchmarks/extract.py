"""Extraction against open_clip's plain loop and clip-retrieval's loop: same images, same weights, same run.

python -m benchmarks.extract [--gpu]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np
from rich.table import Table

from aigid.core import embeddings
from aigid.core.files import num_workers
from aigid.features.backbones import BackboneSettings, ConcatSettings
from benchmarks import record

SIZES = (224, 336, 384)
PATCHES = {32: 4, 224: 32, 336: 48, 384: 48}
WIDTH, NARROW = 192, 64  # as the backbones tiny_clip and tiny_clip_64


def tiny_clip(size: int, decode: str = "exact", width: int = WIDTH) -> BackboneSettings:
    """A tiny CLIP of random weights that takes images of a real one's size."""
    vision = {"image_size": size, "patch_size": PATCHES[size], "width": width, "layers": 2, "head_width": 64}
    config = {
        "embed_dim": 4 * width,
        "vision_cfg": vision | {"mlp_ratio": 2.0, "pool_type": "avg"},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 1, "layers": 1},
    }
    return BackboneSettings(
        library="open_clip", model=f"tiny {size}", config=config, preprocess={"size": size}, decode=decode
    )


def work(name: str, folder: Path, sizes: tuple[int, ...], out: Path, width: int) -> None:
    """What is timed, in a process of its own."""
    import torch  # noqa: F401

    from aigid.core import manifest
    from aigid.features.extract import extract
    from benchmarks import loops

    start, cpu = perf_counter(), os.times()
    if name in ("exact", "fast"):
        encoders = [tiny_clip(size, name, width) for size in sizes]
        settings = encoders[0] if len(encoders) == 1 else ConcatSettings(library="joint", parts=encoders)
        extract(manifest.read(folder / "manifest.csv"), folder / "images", settings, out=out).write(out)
    else:
        loop = loops.plain if name == "plain" else loops.clip_retrieval
        loop(folder / "images", tiny_clip(sizes[0], width=width), num_workers(), out)
    wall, used = perf_counter() - start, sum(np.subtract(os.times()[:4], cpu[:4]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": wall, "cpu": used, "peak": peak / 1024}))


def measure(name: str, folder: Path, sizes: tuple[int, ...], out: Path, width: int = WIDTH) -> dict[str, float]:
    """Seconds, CPU seconds and peak MB of ``work`` with an empty cache."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        call = [
            sys.executable,
            "-c",
            "import sys; from benchmarks.extract import work_called; work_called(*sys.argv[1:])",
        ]
        call += [name, str(folder), ",".join(map(str, sizes)), str(out), str(width)]
        env = os.environ | {"AIGID_CACHE": cache, "AIGID_DEVICE": "cpu"}
        done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def work_called(name: str, folder: str, sizes: str, out: str, width: str) -> None:
    """``work`` from a command line."""
    work(name, Path(folder), tuple(map(int, sizes.split(","))), Path(out), int(width))


def loading_alone(folder: Path, sizes: tuple[int, ...]) -> float:
    """Images per second that the plain loop's passes take in, one after the other, when nobody embeds them."""
    from benchmarks import loops

    start = perf_counter()
    num = sum(len(batch) for size in sizes for batch in loops.loaded(folder / "images", tiny_clip(size), num_workers()))
    return num / len(sizes) / (perf_counter() - start)


def decoding_alone(folder: Path, sizes: tuple[int, ...], decode: str) -> float:
    """Images per second that the reader gives when nobody embeds them: the bound on this machine."""
    from aigid.core import manifest
    from aigid.features.reader import Reader, ReadRequest, ViewSpec

    table = manifest.read(folder / "manifest.csv")[:1000]
    specs = tuple(ViewSpec("clean", tiny_clip(size).preprocess, decode) for size in sizes)
    requests = (ReadRequest(0, path, key, specs) for path, key in zip(table["path"], table["sha256"], strict=True))
    start = perf_counter()
    for _ in Reader(folder / "images", 0).samples(requests, num_workers(), 256):
        pass
    return len(table) / (perf_counter() - start)


def one_minus_cosine(reference: Path, ours: Path) -> float:
    """The largest over all images, the reference being an npy file."""
    a, b = np.load(reference).astype(float), embeddings.read(ours).view("clean").astype(float)
    return float((1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).max())


def compare(folder: Path, num: int, rounds: int) -> Table:
    """Single and joint extraction against the loops, medians over interleaved rounds."""
    out = {name: folder / f"{name}.{'npy' if name in ('plain', 'clip_retrieval') else 'h5'}" for name in RUNS}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    for _ in range(rounds):
        for name, (kind, sizes, width) in RUNS.items():
            separate = [sizes] if kind in ("exact", "fast") else [(size,) for size in sizes]
            parts = [measure(kind, folder, size, out[name], width) for size in separate]
            runs[name].append({key: (max if key == "peak" else sum)(part[key] for part in parts) for key in parts[0]})
    title = (
        f"{num} JPEGs of 512 px, encoders of width {WIDTH} unless said, {num_workers()} cores, {rounds} rounds' median"
    )
    table = Table("what", "input px", "images/s", "ratio", "of decoding alone", "cores used", "peak MB", title=title)
    for name, (kind, sizes, width) in RUNS.items():
        seconds = median(run["seconds"] for run in runs[name])
        plain = next(other for other, what in RUNS.items() if what == ("plain", sizes, width))
        reference = median(run["seconds"] for run in runs[plain])
        cores = median(run["cpu"] / run["seconds"] for run in runs[name])
        ours = kind in ("exact", "fast")
        bound = f"{num / seconds / decoding_alone(folder, sizes, kind):.0%}" if ours else ""
        cells = [f"{num / seconds:.0f}", f"{reference / seconds:.2f}", bound, f"{cores:.2f}"]
        peak = max(run["peak"] for run in runs[name])
        table.add_row(name, "+".join(map(str, sizes)), *cells, f"{peak:.0f}" + ("" if ours else " + workers"))
    reference = loading_alone(folder, SIZES)
    names = {"plain, three passes": reference}
    names |= {f"{kind}, one pass": decoding_alone(folder, SIZES, kind) for kind in ("exact", "fast")}
    for name, pace in names.items():
        table.add_row(f"{name}, no encoders", "+".join(map(str, SIZES)), f"{pace:.0f}", f"{pace / reference:.2f}")
    for kind in ("exact", "fast"):
        cosine = f"{one_minus_cosine(out['plain'], out[kind]):.0e}"
        table.add_row(f"{kind}: largest 1 - cos to plain", "224", "", cosine)
    return table


RUNS = {
    "plain": ("plain", (224,), WIDTH),
    "clip_retrieval": ("clip_retrieval", (224,), WIDTH),
    "exact": ("exact", (224,), WIDTH),
    "fast": ("fast", (224,), WIDTH),
} | {
    f"{name}, width {width}": (kind, SIZES, width)
    for width in (WIDTH, NARROW)
    for name, kind in {"plain, three passes": "plain", "exact, one pass": "exact", "fast, one pass": "fast"}.items()
}


@click.command(help=__doc__)
@click.option("--images", default=5000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--gpu", is_flag=True, help="Full-size encoders of random weights on a CUDA device instead.")
@click.option("--rehearse", is_flag=True, hidden=True, help="With --gpu: tiny encoders on the CPU, to run the code.")
@click.option("--part", type=click.Choice(["speed", "storage", "memory"]), multiple=True)
@record.out_option
def main(images: int, rounds: int, gpu: bool, rehearse: bool, part: tuple[str, ...], out: Path) -> None:
    from benchmarks import extract_gpu, extract_storage, pictures

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AIGID_CACHE"] = str(folder / "cache")
        if gpu:
            record.publish(extract_gpu.compare(folder, rehearse), "extract_gpu", out, width=120)
            return
        if not part or "storage" in part:
            record.publish(extract_storage.store_and_cache(folder), "extract_storage", out, width=120)
        if not part or "memory" in part:
            record.publish(extract_storage.memory(folder, images), "extract_memory", out, width=120)
        if not part or "speed" in part:
            pictures.write(folder, images, 512)
            record.publish(compare(folder, images, rounds), "extract", out, width=120)


if __name__ == "__main__":
    main()
