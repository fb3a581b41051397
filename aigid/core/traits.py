"""The table of images' properties: columns, reading, and classes to break down by."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import tables

COLUMNS = ("format", "JPEG table", "chroma subsampling", "progressive", "mode", "EXIF", "software", "ICC profile")
CONTAINER = (*COLUMNS, "width", "height", "aspect", "JPEG quality", "bit depth")
PIXEL_FEATURES = ("mean red", "mean green", "mean blue", "contrast", "Laplacian energy", "JPEG grid")
SHALLOW = (*PIXEL_FEATURES, "file size", "bytes per pixel")
SIZE_BINS = (128, 256, 512, 1024)  # px of the longer side
QUALITY_BINS = (70, 85, 95)  # of a JPEG


def read(path: Path | str) -> pd.DataFrame:
    """Return a table of properties: names as text, numbers as float64, NaN where unknown."""
    table = tables.read(path, ("path", *CONTAINER, *SHALLOW))
    return tables.to_numeric(table, [name for name in (*CONTAINER, *SHALLOW) if name not in COLUMNS], path)


def to_strata(properties: pd.DataFrame) -> pd.DataFrame:
    """Return ``path``, ``size`` and ``compression`` of each image, in few classes to break down by; "" unknown."""
    longer = properties[["width", "height"]].astype(float).max(axis=1)
    middle = [f"{low + 1} to {high} px" for low, high in pairwise(SIZE_BINS)]
    sizes = [f"to {SIZE_BINS[0]} px", *middle, f"over {SIZE_BINS[-1]} px"]
    quality = properties["JPEG quality"].astype(float)
    qualities = ["JPEG below 70", "JPEG 70 to 84", "JPEG 85 to 94", "JPEG from 95"]
    bins = pd.cut(quality.where(quality > 0), [0, *QUALITY_BINS, np.inf], right=False, labels=qualities)
    return pd.DataFrame(
        {
            "path": properties["path"],
            "size": pd.cut(longer, [0, *SIZE_BINS, np.inf], labels=sizes).astype(object).fillna(""),
            "compression": bins.astype(object).fillna(properties["format"]).fillna(""),
        }
    )
