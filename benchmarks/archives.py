"""Images in tar, zip and Parquet files against the same in a folder: `python -m benchmarks.archives [--images 2000]`.

Reads a second in one thread, in order and at random, and images a second of an extraction, as ratios to the folder;
the last also by processor time, which a busy machine disturbs less. JPEGs of 512 px in shards of 1000; Parquet in row
groups of 100, as the Hugging Face hub's. The files are in the page cache: what a disk or a network takes comes on top.
Medians of interleaved rounds.
"""

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np
import pyarrow as pa
from pyarrow import parquet
from rich.table import Table

from aigid.core import embeddings, manifest
from aigid.images import MEMBER_SEPARATOR
from aigid.images.formats import read_bytes
from benchmarks import pictures, record
from benchmarks.extract import measure

KINDS = ("folder", "tar", "zip", "parquet")
SHARD = 1000  # images of a file
GROUP = 100  # images of a row group
MIN_RATIO = 0.9


def pack(kind: str, folder: Path, names: Sequence[str], out: Path) -> Iterator[str]:
    """Put images into files in ``out``; the paths by which they are read, in order."""
    for start in range(0, len(names), SHARD):
        part, shard = names[start : start + SHARD], f"{start // SHARD:03}.{kind}"
        contents = [(folder / name).read_bytes() for name in part]
        if kind == "tar":
            with tarfile.open(out / shard, "w") as archive:
                for name, content in zip(part, contents, strict=True):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        elif kind == "zip":
            with zipfile.ZipFile(out / shard, "w") as archive:
                for name, content in zip(part, contents, strict=True):
                    archive.writestr(name, content)
        else:
            cells = [{"bytes": content, "path": name} for name, content in zip(part, contents, strict=True)]
            parquet.write_table(pa.table({"image": cells}), out / shard, row_group_size=GROUP)
            part = [f"image/{row:06}" for row in range(len(part))]
        yield from (f"{shard}{MEMBER_SEPARATOR}{name}" for name in part)


def prepare(folder: Path, num: int) -> dict[str, Path]:
    """A folder with a manifest and its images for each kind."""
    folders = {kind: folder / kind for kind in KINDS}
    folders["folder"].mkdir()
    table = manifest.read(pictures.write(folders["folder"], num, 512))
    for kind in KINDS[1:]:
        (folders[kind] / "images").mkdir(parents=True)
        paths = list(pack(kind, folders["folder"] / "images", table["path"].tolist(), folders[kind] / "images"))
        manifest.write(table.assign(path=paths), folders[kind] / "manifest.csv")
    return folders


def reads(folder: Path, order: np.ndarray) -> float:
    """Images a second that are read, not decoded, in one thread."""
    paths = [folder / "images" / path for path in manifest.read(folder / "manifest.csv")["path"].iloc[order]]
    read_bytes(paths[0])  # the archive's table of contents
    start = perf_counter()
    for path in paths:
        read_bytes(path)
    return len(paths) / (perf_counter() - start)


def compare(folder: Path, num: int, rounds: int) -> Table:
    """A row for each kind."""
    folders, draw = prepare(folder, num), np.random.default_rng(0)
    orders = {"in order": np.arange(num), "at random": draw.permutation(num)[: num // 4]}
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for kind, subfolder in folders.items():
            for name, order in orders.items():
                rates.setdefault((kind, name), []).append(reads(subfolder, order))
            spent = measure("exact", subfolder, (224,), folder / f"{kind}.h5")
            rates.setdefault((kind, "extraction"), []).append(num / spent["seconds"])
            rates.setdefault((kind, "of processor time"), []).append(num / spent["cpu"])
    rows = {kind: embeddings.read(folder / f"{kind}.h5").view("clean") for kind in KINDS}
    assert all(np.array_equal(rows[kind], rows["folder"]) for kind in KINDS), "an archive gives other embeddings"
    measures = (*orders, "extraction", "of processor time")
    table = Table(
        "",
        *(f"{name}: images/s, ratio" for name in measures),
        f">= {MIN_RATIO}?",
        title=f"{num} JPEGs of 512 px, median of {rounds} rounds",
    )
    for kind in KINDS:
        paces = {name: median(rates[kind, name]) for name in measures}
        ratios = {name: pace / median(rates["folder", name]) for name, pace in paces.items()}
        cells = [f"{pace:,.0f}, {ratios[name]:.2f}" for name, pace in paces.items()]
        table.add_row(kind, *cells, "yes" if ratios["extraction"] >= MIN_RATIO else "no")
    return table


@click.command(help=__doc__)
@click.option("--images", default=2000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@record.out_option
def main(images: int, rounds: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record.publish(compare(Path(folder), images, rounds), "archives", out, width=120)


if __name__ == "__main__":
    main()
