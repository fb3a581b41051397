"""Images that tests embed, align and score."""

import hashlib

import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import manifest
from aigid.data.demo import load_source_images
from aigid.images import has_color


def noise_folder(folder, num, size=32):
    """``num`` test images of noise below ``folder``; writes and returns their manifest, ``m.csv``."""
    rng, rows = np.random.default_rng(0), []
    for number in range(num):
        path = folder / f"{number:02}.png"
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((path.name, number % 2, ("real", "a")[number % 2], "test", digest))
    manifest.write(pd.DataFrame(rows, columns=["path", "label", "generator", "split", "sha256"]), folder / "m.csv")
    return manifest.read(folder / "m.csv")


def class_folders(root, num=6):
    """``num`` PNG files of noise below ``root``, in turn in ``0_real`` and ``1_fake/sdxl``."""
    rng = np.random.default_rng(0)
    for number in range(num):
        folder = root / ("1_fake/sdxl" if number % 2 else "0_real")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(folder / f"{number}.png")


def grain_folder(folder, num, path_of, size=40):
    """``num`` images, every second one grainy and called generated; returns rows of a manifest."""
    rng, rows = np.random.default_rng(0), []
    for number in range(num):
        fake, path = number % 2, folder / path_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        grain = rng.normal(0, 25 if fake else 8, (size, size, 3)) + rng.integers(60, 200, 3)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path)
        split = ("train", "train", "val", "test")[number // 2 % 4]
        rows.append((path_of(number), fake, "grain" if fake else "real", split))
    return pd.DataFrame(rows, columns=["path", "label", "generator", "split"])


def unlabeled(paths):
    """The manifest of real test images."""
    table = pd.DataFrame({"path": paths, "label": 0, "generator": "real", "split": "test"})
    return manifest.validate(table, "table")


def random_images(n=3):
    """(n, 32, 32, 3) uint8, each another."""
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def crops(num: int, height: int, width: int) -> list[np.ndarray]:
    """Cuts of the installed color photographs, (H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    sources = [source.image for source in load_source_images() if has_color(source.image)]
    cuts = []
    for n in range(num):
        image = sources[n % len(sources)]
        top, left = (rng.integers(0, side - size) for side, size in zip(image.shape, (height, width), strict=False))
        cuts.append(image[top : top + height, left : left + width])
    return cuts
