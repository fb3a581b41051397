"""`aigid` from the shell against an empty Python and against bare ONNX Runtime on the same tower, in the same rounds.

python -m benchmarks.verdict [--images 100]
"""

import shutil
import tempfile
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from aigid.core.files import num_workers
from aigid.features import weights
from benchmarks import pictures, record
from benchmarks.predict import AIGID, seconds

SIDE = 384  # px
EMPTY, BARE = "python -c pass", "ONNX Runtime alone"
LOOP = """  # of images by threads: decode, resize, run the whole tower
import os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np, onnxruntime
from PIL import Image
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
def embed(path):
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return session.run(None, {name: pixels})[0]
with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    list(pool.map(embed, sys.argv[2:]))
"""


def measure(folder: Path, images: int, rounds: int) -> dict[str, np.ndarray]:
    """Return medians of wall and CPU time over interleaved rounds; no embedding is in the cache."""
    encoder = str(weights.locate("clip_vit_b16_int8"))
    pictures.write(folder, images, SIDE)
    paths = sorted(map(str, (folder / "images").iterdir()))
    programs = {
        EMPTY: ("-c", "pass"),
        "import aigid": ("-c", "import aigid"),
        "aigid --help": (*AIGID, "--help"),
        f"{BARE}, one image": ("-c", LOOP, encoder, paths[0]),
        "aigid predict, one image": (*AIGID, "predict", paths[0]),
        f"{BARE}, {images} images": ("-c", LOOP, encoder, *paths),
        f"aigid predict, {images} images": (*AIGID, "predict", *paths),
    }
    times: dict[str, list[np.ndarray]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, arguments in programs.items():
            cache = folder / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            (cache / weights.FOLDER).mkdir(parents=True)
            (cache / weights.FOLDER / Path(encoder).name).symlink_to(encoder)
            times[name].append(seconds(*arguments, cache=cache))
    return {name: np.median(of_name, axis=0) for name, of_name in times.items()}


@click.command(help=__doc__)
@click.option("--images", default=100, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@record.out_option
def main(images: int, rounds: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        times = measure(Path(name), images, rounds)
    table = Table(
        *("program", "seconds", f"time / {EMPTY}", f"time / {BARE}", "CPU", "images/s"),
        title=f"{num_workers()} cores, median of {rounds} rounds, JPEGs of {SIDE} px, weights cached, embeddings not",
    )
    for program, of_program in times.items():
        bare = times.get(f"{BARE},{program.partition(',')[2]}")
        ratios = ["", ""] if bare is None else [f"{ratio:.2f}" for ratio in of_program / bare]
        pace = f"{images / of_program[0]:.1f}" if program.endswith("images") else ""
        table.add_row(program, f"{of_program[0]:.2f}", f"{of_program[0] / times[EMPTY][0]:.1f}", *ratios, pace)
    record.publish(table, "verdict", out, width=110)


if __name__ == "__main__":
    main()
