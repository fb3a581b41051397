"""What a row costs at a hundred thousand and at a million: `python -m benchmarks.scale [--rows 100000 --rows 1000000]`.

Images of 8 px in tar files are indexed and extracted by a tiny encoder; rows of all but one in 500 are already in the
cache; the file is put together; a scores file of as many rows is judged. Every step runs in a process of its own; the
table gives seconds a million rows, as a ratio to the fewest rows by the clock and by processor time, which a busy
machine disturbs less, and each process's peak memory.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd
from PIL import Image
from rich.table import Table

from aigid.core import shards
from benchmarks import record

STEPS = {  # and what each imports before the clock starts
    "index": "aigid.data.index",
    "look up": "aigid.features.cache_admin, open_clip",
    "assemble": "aigid.features.extract, open_clip",
    "evaluate": "aigid.evaluation.evaluate",
}
MAX_TIME, MAX_MEMORY = 1.3, 2.0  # of a row, as a ratio to the fewest rows; GB
SHARD = 50_000  # images of a tar
FRESH = 500  # of so many images, one has no row in the cache beforehand
BACKBONE = "tiny_clip"


def make(folder: Path, num: int) -> None:
    """``num`` images, in tar files, each another: 8 px PNG without compression, whose pixels count."""
    template = io.BytesIO()
    Image.new("RGB", (8, 8)).save(template, "BMP")
    data = bytearray(template.getvalue())
    for start in range(0, num, SHARD):
        with tarfile.open(folder / f"shard_{start // SHARD:03}.tar", "w", format=tarfile.USTAR_FORMAT) as out:
            for number in range(start, min(start + SHARD, num)):
                data[-8:-4] = number.to_bytes(4, "little")
                info = tarfile.TarInfo(f"test/gan/{('0_real', '1_fake')[number % 2]}/{number:07}.bmp")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))


def fill(manifest: Path, seed: int = 0) -> None:
    """Random rows for all but one in ``FRESH`` images, as if they had been computed."""
    import torch

    from aigid.core import manifest as manifests
    from aigid.degradations import views
    from aigid.features import row_cache
    from aigid.features.backbones import backbone_settings
    from aigid.features.encoder import TorchBackbone
    from aigid.features.extract import cached_rows

    backbone = TorchBackbone(backbone_settings(BACKBONE), torch.device("cpu"))
    key = manifests.read(manifest)["sha256"].to_numpy().astype(shards.KEY)
    key = key[len(key) // FRESH :]
    entry = cached_rows(backbone, views.to_dict("clean"), 0, row_cache.KeyIndex(key)).entry
    draw = np.random.default_rng(seed)
    for start in range(0, len(key), row_cache.SHARD_ROWS):
        part = np.ascontiguousarray(key[start : start + row_cache.SHARD_ROWS])
        entry.add(part, draw.normal(size=(len(part), backbone.dim)).astype(np.float16))


def step(name: str, folder: Path) -> None:
    """One step, in this process."""
    from aigid.cli.main import main

    manifest, root = str(folder / "m.csv"), str(folder)
    arguments = {
        "index": ["index", root, "--layout", "realfake", "--archives", "--out", manifest],
        "look up": ["plan", manifest, "--root", root, "--backbone", BACKBONE, "--rate", "1", "--json"],
        "assemble": ["extract", manifest, "--root", root, "--backbone", BACKBONE, "--out", str(folder / "e.h5")],
        "evaluate": ["evaluate", str(folder / "scores.csv"), "--json"],
    }
    main(arguments[name], standalone_mode=False)


def scores(folder: Path, num: int) -> None:
    """A scores file of ``num`` rows, a tenth of them for validation."""
    draw, label = np.random.default_rng(0), np.arange(num) % 2
    table = pd.DataFrame({"path": [f"{k:07}.png" for k in range(num)], "label": label})
    table["generator"] = np.where(label == 0, "real", np.char.add("g", (np.arange(num) // 2 % 8).astype(str)))
    table["split"] = np.where(np.arange(num) % 10 == 0, "val", "test")
    table["view"], table["score"] = "clean", np.clip(0.35 + 0.3 * label + 0.2 * draw.normal(size=num), 0, 1)
    table.to_csv(folder / "scores.csv", index=False)


def measured(name: str, folder: Path) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor, and peak memory in GB, of a step's process without its imports."""
    code = (
        f"import json, resource, sys, time, aigid.cli.main, {STEPS[name]}\n"
        "from pathlib import Path; from benchmarks.scale import step\n"
        "start, used = time.perf_counter(), time.process_time(); step(sys.argv[1], Path(sys.argv[2]))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6\n"
        "print(json.dumps([time.perf_counter() - start, time.process_time() - used, peak]))"
    )
    done = subprocess.run([sys.executable, "-c", code, name, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


@click.command(help=__doc__)
@click.option("--rows", multiple=True, type=int, default=(100_000, 1_000_000), show_default=True)
@record.out_option
def main(rows: tuple[int, ...], out: Path) -> None:
    costs: dict[tuple[str, int], tuple[float, float, float]] = {}
    for num in rows:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["AIGID_CACHE"] = f"{scratch}/cache"
            make(Path(scratch), num)
            scores(Path(scratch), num)
            for name in STEPS:
                costs[name, num] = measured(name, Path(scratch))
                print(name, num, costs[name, num], file=sys.stderr)
                if name == "index":  # in another process, as a child's peak memory counts its parent's
                    code = (
                        f"from pathlib import Path; from benchmarks.scale import fill; fill(Path({scratch!r}, 'm.csv'))"
                    )
                    subprocess.run([sys.executable, "-c", code], check=True)
    table = Table("step", *(f"{num:,} rows: s a million, GB" for num in rows), f"ratio to {rows[0]:,}")
    table.add_column(f"<= {MAX_TIME}, {MAX_MEMORY} GB?")
    for name in STEPS:
        each = [np.divide(costs[name, num][:2], num / 1e6) for num in rows]  # by the clock, of the processor
        cells = [f"{pace[0]:.1f}, {costs[name, num][2]:.2f}" for pace, num in zip(each, rows, strict=True)]
        ratios = [pace / each[0] for pace in each[1:]]
        cheap_enough = all(ratio[0] <= MAX_TIME for ratio in ratios) and all(
            costs[name, num][2] <= MAX_MEMORY for num in rows
        )
        ratio_text = "; ".join(f"{clock:.2f}, {processor:.2f}" for clock, processor in ratios)
        table.add_row(name, *cells, ratio_text, "yes" if cheap_enough else "no")
    record.publish(table, "scale", out, width=120)


if __name__ == "__main__":
    main()
