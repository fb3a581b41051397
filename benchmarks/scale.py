"""What a row costs at 10^5, 10^6 and 10^7: `python -m benchmarks.scale [--rows 10000000] [--work FOLDER]`.

Images of 8 px in tar files are indexed; a manifest is read; its rows, of which one in 500 is not in the cache of a tiny
encoder, are looked up; the file of them is put together from a full cache; a scores file of as many rows is judged.
Every step is a process of its own with a limit of time. The table gives seconds a million rows by the clock and of the
processor, peak memory, both as ratios to the fewest rows, and a forecast for 10^8 by the last slopes. Figures in
`--work` are not measured again.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from contextlib import nullcontext
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from aigid.core import shards
from benchmarks import record

STEPS = {  # and what each imports before the clock starts
    "index": "aigid.data.index",
    "read": "aigid.core.manifest",
    "look up": "aigid.features.cache_admin",
    "assemble": "aigid.features.extract",
    "evaluate": "aigid.evaluation.evaluate",
}
NEEDS = {"index": "make", "read": "listed", "look up": "fill", "assemble": "complete", "evaluate": "scores"}
MAX_TIME, MAX_MEMORY = 1.3, 2.0  # of a row, as a ratio to the fewest rows; GB
FORECAST = 10**8
SHARD = 50_000  # images of a tar
FRESH = 500  # of so many images, one has no row in the cache beforehand
BACKBONE = "tiny_clip"
DIGITS = 9
Cost = tuple[float, float, float]  # seconds by the clock and of the processor, GB


def ascii_digits(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (n, DIGITS)."""
    return (numbers[:, None] // 10 ** np.arange(DIGITS - 1, -1, -1) % 10 + ord("0")).astype(np.uint8)


def make(folder: Path, num: int) -> None:
    """``num`` images of 8 px, each another, in tar files: members of two kinds; name, sum and pixels differ."""
    for number, start in enumerate(range(0, num, SHARD)):
        rows, blocks = np.arange(start, min(start + SHARD, num)), []
        for label, name in enumerate(("0_real", "1_fake")):
            image, path = BytesIO(), f"test/gan/{name}/{'0' * DIGITS}.bmp"
            Image.new("RGB", (8, 8)).save(image, "BMP")
            info = tarfile.TarInfo(path)
            info.size = len(image.getvalue())
            member = (info.tobuf(tarfile.USTAR_FORMAT) + image.getvalue()).ljust(1024, b"\0")
            part = np.tile(np.frombuffer(member, np.uint8), (len(rows[rows % 2 == label]), 1))
            digits, at = ascii_digits(rows[rows % 2 == label]), path.index("0" * DIGITS)
            part[:, at : at + DIGITS] = digits
            part[:, 512 + info.size - 9 : 512 + info.size] = digits
            sums = int(member[148:154], 8) + digits.sum(axis=1, dtype=np.int64) - DIGITS * ord("0")
            part[:, 148:154] = sums[:, None] // 8 ** np.arange(5, -1, -1) % 8 + ord("0")
            blocks.append(part)
        (folder / f"shard_{number:05}.tar").write_bytes(np.concatenate(blocks).tobytes() + bytes(1024))


def listed(folder: Path, num: int) -> None:
    """A manifest of ``num`` rows, sorted as manifests are, whose images need not be there."""
    with (folder / "m.csv").open("w") as file:
        file.write("path,label,generator,split,source,sha256\n")
        for number in range(num):
            shard, image = divmod(number, SHARD)
            label = image * 2 // SHARD
            path = f"shard_{shard:05}.tar::test/gan/{('0_real', '1_fake')[label]}/{number:0{DIGITS}}.bmp"
            name, source = ("gan", "") if label else ("real", "gan")
            file.write(f"{path},{label},{name},test,{source},{sha256(path.encode()).hexdigest()}\n")


def fill(folder: Path, num: int, rest: bool = False) -> None:
    """Random rows for all but one in ``FRESH`` images, or for those, as if they had been computed."""
    from aigid.core import texts
    from aigid.degradations import views
    from aigid.features import images, row_cache
    from aigid.features.backbones import backbone_settings
    from aigid.features.extract import EncoderLoader, cached_rows

    if not (folder / "m.csv").exists():
        listed(folder, num)
    backbone = EncoderLoader().load(backbone_settings(BACKBONE), num)
    none = images.KeyIndex(np.array(["f" * shards.KEY_CHARS], shards.KEY))
    entry = cached_rows(backbone, views.to_dict("clean"), 0, none).entry
    draw = np.random.default_rng(0)
    with (folder / "m.csv").open() as file:
        lines = (line for number, line in enumerate(file, -1) if number >= 0 and (number % FRESH == 0) == rest)
        for batch in texts.batches(lines, row_cache.SHARD_ROWS):
            key = np.array([line.rstrip().rpartition(",")[2] for line in batch], shards.KEY)
            entry.add(key, draw.normal(size=(len(key), backbone.dim)).astype(np.float16))


def complete(folder: Path, num: int) -> None:
    fill(folder, num, rest=True)


def scores(folder: Path, num: int) -> None:
    """A scores file of ``num`` rows, a tenth of them for validation."""
    draw = np.random.default_rng(0)
    with (folder / "scores.csv").open("w") as file:
        file.write("path,label,generator,split,view,score\n")
        for number in range(num):
            label, split = number % 2, "test" if number // 2 % 10 else "val"
            score = min(max(0.35 + 0.3 * label + 0.2 * draw.normal(), 0.0), 1.0)
            name = f"g{number // 2 % 8}" if label else "real"
            file.write(f"test/gan/{label}/{number:0{DIGITS}}.bmp,{label},{name},{split},clean,{score!r}\n")


def step(name: str, folder: Path) -> None:
    """One step, in this process."""
    from aigid.cli.main import main
    from aigid.core import manifest as manifests

    manifest, root = str(folder / "m.csv"), str(folder)
    arguments = {
        "index": ["index", root, "--layout", "realfake", "--archives", "--out", str(folder / "indexed.csv")],
        "look up": ["plan", manifest, "--root", root, "--backbone", BACKBONE, "--rate", "1", "--json"],
        "assemble": ["extract", manifest, "--root", root, "--backbone", BACKBONE, "--out", str(folder / "e.h5")],
        "evaluate": ["evaluate", str(folder / "scores.csv"), "--json"],
    }
    if name == "read":
        manifests.read(manifest)
    else:
        main(arguments[name], standalone_mode=False)


def measured(name: str, folder: Path, limit: float) -> Cost | None:
    """Return what a step costs without its imports; None where it takes longer than ``limit`` seconds, or fails."""
    code = (
        f"import json, resource, sys, time, aigid.cli.main, {STEPS[name]}\n"
        "from pathlib import Path; from benchmarks.scale import step\n"
        "start, used = time.perf_counter(), time.process_time(); step(sys.argv[1], Path(sys.argv[2]))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6\n"
        "print(json.dumps([time.perf_counter() - start, time.process_time() - used, peak]))"
    )
    done = run([code, name, str(folder)], limit)
    return tuple(json.loads(done.splitlines()[-1])) if done else None


def run(arguments: list[str], limit: float) -> str:
    """Return the output of a process; "" where it takes longer than ``limit`` seconds, or fails."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def all_costs(folder: Path, rows: tuple[int, ...], only: tuple[str, ...], limit: float) -> dict[tuple[str, int], Cost]:
    """Measure the steps that are not in ``folder`` yet."""
    costs: dict[tuple[str, int], Cost] = {}
    for num in rows:
        data, file = folder / str(num), folder / f"{num}.json"
        data.mkdir(exist_ok=True)
        os.environ["AIGID_CACHE"] = str(folder / f"cache_{num}")
        known = json.loads(file.read_text()) if file.exists() else {}
        for name in [name for name in STEPS if name not in known and (not only or name in only)]:
            if prepare := NEEDS.get(name):
                code = f"from benchmarks import scale; scale.{prepare}(scale.Path({str(data)!r}), {num})"
                run([code], limit)
            if cost := measured(name, data, limit):
                known[name] = cost
                file.write_text(json.dumps(known))
            print(num, name, cost or f"not in {limit:g} s", file=sys.stderr)
        costs |= {(name, num): tuple(cost) for name, cost in known.items()}
    return costs


def forecast(costs: list[tuple[int, Cost]]) -> tuple[str, float]:
    """Return hours and GB of ``FORECAST`` rows, and the rows that ``MAX_MEMORY`` holds, by the two largest sizes."""
    (few, small), (many, large) = costs[-2:]
    pace, slope = ((b - a) / (many - few) for a, b in zip(small[1:], large[1:], strict=True))
    hours, size = (large[1] + pace * (FORECAST - many)) / 3600, large[2] + slope * (FORECAST - many)
    return f"{hours:.1f} h, {size:.0f} GB", many + (MAX_MEMORY - large[2]) / max(slope, 1e-12)


@click.command(help=__doc__)
@click.option("--rows", multiple=True, type=int, default=(100_000, 1_000_000), show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(STEPS)), help="Measure these steps alone.")
@click.option("--limit", default=900.0, show_default=True, help="Seconds of a step, or of what is prepared for it.")
@click.option("--work", type=Path, help="Folder for data and figures, so that a later call goes on.")
@record.out_option
def main(rows: tuple[int, ...], only: tuple[str, ...], limit: float, work: Path | None, out: Path) -> None:
    with nullcontext(str(work)) if work else tempfile.TemporaryDirectory() as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        costs = all_costs(Path(folder), rows, only, limit)
    table = Table("step", *(f"{num:,} rows: s a million, GB" for num in rows), f"ratio to {rows[0]:,}")
    for column in (f"<= {MAX_TIME}, {MAX_MEMORY} GB?", f"{FORECAST:,} rows", f"rows in {MAX_MEMORY} GB"):
        table.add_column(column)
    for name in STEPS:
        each = [(num, costs[name, num]) for num in rows if (name, num) in costs]
        paces = {num: np.divide(cost[:2], num / 1e6) for num, cost in each}  # by the clock, of the processor
        cells = [f"{paces[num][0]:.1f}, {costs[name, num][2]:.2f}" if num in paces else "not measured" for num in rows]
        ratios = [pace / paces[each[0][0]] for pace in list(paces.values())[1:]]
        good = all(ratio[1] <= MAX_TIME for ratio in ratios) and all(cost[2] <= MAX_MEMORY for _, cost in each)
        then, capacity = forecast(each) if len(each) > 1 else ("", 0.0)
        text = "; ".join(f"{clock:.2f}, {processor:.2f}" for clock, processor in ratios)
        table.add_row(name, *cells, text, "yes" if good else "no", then, f"{capacity / 1e6:.1f} million")
    record.publish(table, "scale", out, width=150)


if __name__ == "__main__":
    main()
