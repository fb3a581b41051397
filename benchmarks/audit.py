"""How long index and audit take, as a share of the time in which one thread decodes the same images with Pillow.

python -m benchmarks.audit
"""

import os
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
import skimage
from PIL import Image
from rich.table import Table

from aigid.core.seeding import numpy_generator
from aigid.data.audit.audit import AuditSettings, run_audit
from aigid.data.index import IndexSettings, build_manifest
from benchmarks import record

CROPS = 200  # distinct pictures; every file is another one's pixels and a comment of its own
FOLDERS = ("0_real", "1_fake/one", "1_fake/two", "1_fake/three")


def write(root: Path, num: int) -> None:
    """``num`` JPEG of about 512 px, half of them real, of sizes and qualities that say nothing."""
    rng = numpy_generator("benchmark audit")
    pictures = [_crop(rng) for _ in range(CROPS)]
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    for number in range(num):
        data, comment = pictures[rng.integers(CROPS)], str(number).encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        folder = FOLDERS[0 if number % 2 else 1 + number // 2 % 3]
        (root / folder / f"{number}.jpg").write_bytes(data[:2] + segment + data[2:])


def _crop(rng: np.random.Generator) -> bytes:
    names = ("astronaut.png", "coffee.png", "chelsea.png")
    photo = Image.open(Path(skimage.__file__).parent / "data" / names[rng.integers(3)]).convert("RGB")
    left, top = rng.integers(0, 100, 2)
    size = tuple(int(side) for side in rng.integers(480, 545, 2))
    file = BytesIO()
    photo.crop((left, top, left + 200, top + 200)).resize(size).save(file, "JPEG", quality=int(rng.integers(80, 97)))
    return file.getvalue()


def decode_all(root: Path) -> None:
    """The reference."""
    for path in root.rglob("*.jpg"):
        np.asarray(Image.open(path).convert("RGB"))


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@click.command(help=__doc__)
@click.option("--images", default=20_000, show_default=True)
@record.out_option
def main(images: int, out: Path) -> None:
    table = Table("what", "seconds", "share", title=f"{images} JPEG of about 512 px")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        root, settings = Path(folder), IndexSettings(layout="realfake")
        write(root, images)
        os.environ["AIGID_CACHE"] = cache
        times = {"Pillow, one thread (reference)": seconds(lambda: decode_all(root))}
        times["index"] = seconds(lambda: build_manifest(root, settings, 0))
        times["index again"] = seconds(lambda: build_manifest(root, settings, 0))
        manifest, _ = build_manifest(root, settings, 0)
        times["audit"] = seconds(lambda: run_audit(manifest, root, AuditSettings(), 0))
    reference = next(iter(times.values()))
    for name, spent in times.items():
        table.add_row(name, f"{spent:.2f}", f"{spent / reference:.2f}")
    record.publish(table, "audit", out)


if __name__ == "__main__":
    main()
