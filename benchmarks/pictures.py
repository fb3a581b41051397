"""JPEGs for benchmarks: crops of a few photographs, no two files with the same bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import skimage
from PIL import Image

from aigid.core import manifest
from aigid.core.seeding import numpy_generator
from aigid.images.hashing import hash_files

CROPS = 100  # distinct pictures; every file is one of them with a comment of its own


def write(folder: Path, num: int, side: int) -> Path:
    """``num`` square JPEGs of quality 90 in ``folder/images``, and their manifest, which is returned."""
    rng = numpy_generator("benchmark pictures", side)
    pictures = [_crop(rng, side) for _ in range(min(CROPS, num))]
    root = folder / "images"
    root.mkdir()
    for number in range(num):
        picture, comment = pictures[number % len(pictures)], str(number).encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (root / f"{number:06}.jpg").write_bytes(picture[:2] + segment + picture[2:])
    paths = [f"{number:06}.jpg" for number in range(num)]
    table = pd.DataFrame({"path": paths, "label": 0, "generator": "real", "split": "test"})
    table["sha256"] = hash_files([str(root / path) for path in paths])
    manifest.write(table, folder / "manifest.csv")
    return folder / "manifest.csv"


def _crop(rng: np.random.Generator, side: int) -> bytes:
    names = ("astronaut.png", "coffee.png", "chelsea.png")
    photo = Image.open(Path(skimage.__file__).parent / "data" / names[rng.integers(3)]).convert("RGB")
    left, top = rng.integers(0, 100, 2)
    large = np.asarray(photo.crop((left, top, left + 200, top + 200)).resize((side, side)), float)
    grain = rng.normal(0, 6, large.shape)  # as a camera's, so that a file has about 90 kB at 512 px
    file = BytesIO()
    Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
