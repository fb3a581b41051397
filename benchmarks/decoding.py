"""JPEG readers side by side, and an image's way to an encoder's input: `python -m benchmarks.decoding [PHOTOGRAPH]`.

Processor time of one thread as a multiple of Pillow's for the same file, at 0.3, 2, 12 and 48 megapixels; whether the
pixels are Pillow's; what becomes of a file that is cut in half; the time to import. Then bytes to 224 px by each
setting of `decode`, with the largest and mean difference from `exact`, and peak memory. Readers that are not installed
are named: `pip install imagecodecs opencv-python-headless PyTurboJPEG` brings them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from pathlib import Path
from time import process_time

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table
from skimage import data

from aigid.features.preprocess import DECODE_BACKENDS, Preprocess
from aigid.images.decode import decode
from benchmarks import record

MEGAPIXELS = {0.3: (640, 480), 2: (1600, 1200), 12: (4000, 3000), 48: (8000, 6000)}
INPUT = Preprocess(size=224)
ROUNDS, SECONDS = 5, 0.5  # of a way and size: the fastest round, each of at least so long
Pixels = NDArray[np.uint8]
Read = Callable[[bytes], Pixels]


def make_jpeg(size: tuple[int, int], source: Path | None) -> bytes:
    """A JPEG of ``size`` with the grain of a camera, of quality 90."""
    image = Image.open(source) if source else Image.fromarray(data.astronaut())
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    grain = np.random.default_rng(0).integers(-6, 7, pixels.shape, np.int16)
    file = BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def by_torchvision(content: bytes) -> Pixels:
    from torch import frombuffer, uint8
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(frombuffer(bytearray(content), dtype=uint8), ImageReadMode.RGB).permute(1, 2, 0).numpy()


READERS: dict[str, tuple[str, Read]] = {  # and the module that each imports
    "Pillow": ("PIL.Image", lambda content: np.asarray(Image.open(BytesIO(content)))),
    "simplejpeg": ("simplejpeg", lambda content: import_module("simplejpeg").decode_jpeg(content)),
    "torchvision": ("torchvision.io", by_torchvision),
    "imagecodecs": ("imagecodecs", lambda content: import_module("imagecodecs").jpeg8_decode(content)),
    "OpenCV": (
        "cv2",
        lambda content: import_module("cv2").imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1],
    ),
    "PyTurboJPEG": (
        "turbojpeg",
        lambda content: import_module("turbojpeg").TurboJPEG().decode(content, pixel_format=0),
    ),
    "aigid, with its checks": ("aigid.images.decode", decode),
}


def cost(run: Callable[[], object]) -> float:
    """Processor time of a call, in seconds: the fastest of the rounds."""
    run()
    best = np.inf
    for _ in range(ROUNDS):
        start, num = process_time(), 0
        while process_time() - start < SECONDS / ROUNDS or not num:
            run()
            num += 1
        best = min(best, (process_time() - start) / num)
    return best


def import_time(module: str) -> float:
    """Seconds to import a module in a new process that has NumPy."""
    code = f"import numpy, time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return min(float(subprocess.check_output([sys.executable, "-W", "ignore", "-c", code])) for _ in range(2))


def prepare(content: bytes, name: str) -> Pixels:
    """Decode and resize as the setting ``decode: name`` does."""
    backend = DECODE_BACKENDS[name]
    return backend.to_square(decode(content, short=INPUT.resized if backend.reduced else 0), INPUT)


def peak(path: Path, name: str) -> float:
    """MB that a process takes to prepare one file, above what it had; 0 where Linux does not say."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.decoding import memory, prepare, make_jpeg\n"
        "prepare(make_jpeg((64, 48), None), sys.argv[2]); before = memory('VmRSS')\n"
        "prepare(Path(sys.argv[1]).read_bytes(), sys.argv[2]); print(memory('VmHWM') - before)"
    )
    return float(subprocess.check_output([sys.executable, "-c", code, str(path), name]))


def memory(field: str) -> float:
    """MB of this process by a line of Linux's status; the peak is counted from the last call on."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith(field))
    Path("/proc/self/clear_refs").write_text("5")
    return int(kilobytes) / 1e3


def readers(files: dict[float, bytes]) -> Table:
    columns = [f"{size:g} MP" for size in files]
    table = Table("reader", *columns, "Pillow's pixels", "cut in half", "import s", title="time / Pillow's")
    times: dict[str, list[float]] = {}
    for name, (module, read) in READERS.items():
        try:
            import_module(module)
            times[name] = [cost(lambda content=content, read=read: read(content)) for content in files.values()]
        except (ImportError, RuntimeError) as error:
            table.add_row(name, *[""] * len(columns), "", f"left out: {str(error)[:60]}", "")
            continue
        ratios = [f"{mine / theirs:.2f}" for mine, theirs in zip(times[name], times["Pillow"], strict=True)]
        content = files[0.3]
        same = bool((read(content) == READERS["Pillow"][1](content)).all())
        try:
            cut = "pixels" if read(content[: len(content) // 2]) is not None else "nothing"
        except Exception as error:
            cut = f"{type(error).__name__}"
        table.add_row(name, *ratios, "yes" if same else "no", cut, f"{import_time(module):.2f}")
    return table


def inputs(files: dict[float, bytes], folder: Path) -> Table:
    columns = [f"{size:g} MP: images/s of a core" for size in files]
    title = f"a JPEG to {INPUT.size} px, one thread"
    table = Table("decode", *columns, "largest difference", "mean", "48 MP: MB", title=title)
    for name in DECODE_BACKENDS:
        paces = [
            f"{1 / cost(lambda content=content, name=name: prepare(content, name)):.1f}" for content in files.values()
        ]
        difference = np.abs(prepare(files[12], name).astype(int) - prepare(files[12], "exact"))
        (folder / "48.jpg").write_bytes(files[48])
        memory = f"{peak(folder / '48.jpg', name):.0f}"
        table.add_row(name, *paces, str(difference.max()), f"{difference.mean():.2f}", memory)
    return table


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, path_type=Path), required=False, metavar="[PHOTOGRAPH]")
@record.out_option
def main(source: Path | None, out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    files = {size: make_jpeg(shape, source) for size, shape in MEGAPIXELS.items()}
    record.publish(readers(files), "decoding_readers", out, width=120)
    with tempfile.TemporaryDirectory() as folder:
        record.publish(inputs(files, Path(folder)), "decoding", out, width=120)


if __name__ == "__main__":
    main()
