"""Images that say nothing, half of them called generated."""

import hashlib

import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import manifest


def images(folder, num, size=32):
    """``num`` test images of noise below ``folder``; writes and returns their manifest, ``m.csv``."""
    rng, rows = np.random.default_rng(0), []
    for number in range(num):
        path = folder / f"{number:02}.png"
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((path.name, number % 2, ("real", "a")[number % 2], "test", digest))
    manifest.write(pd.DataFrame(rows, columns=["path", "label", "generator", "split", "sha256"]), folder / "m.csv")
    return manifest.read(folder / "m.csv")
