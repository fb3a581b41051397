"""Traits of images: what is known of each one without looking for a forgery, kept as a table beside the manifest."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.base import tables
from aigid.base.errors import InputError

NAMES = ("format", "JPEG table", "chroma subsampling", "progressive", "mode", "EXIF", "software", "ICC profile")
CONTAINER = (*NAMES, "width", "height", "aspect", "JPEG quality", "bit depth")
SHALLOW = (
    *("mean red", "mean green", "mean blue", "contrast", "Laplacian energy", "JPEG grid"),
    *("file size", "bytes per pixel"),
)
SIZES = (128, 256, 512, 1024)  # px of the longer side
QUALITIES = (70, 85, 95)  # of a JPEG


def write(traits: pd.DataFrame, path: Path | str) -> None:
    """As CSV, atomically; what is not known is an empty cell."""
    tables.write(traits, path)


def read(path: Path | str) -> pd.DataFrame:
    """What ``write`` wrote: names as text, numbers as float64, NaN where nothing is known."""
    table = tables.read(path, ("path", *CONTAINER, *SHALLOW))
    for column in {*CONTAINER, *SHALLOW} - {*NAMES}:
        try:
            table[column] = table[column].replace("", "nan").astype("float64")
        except ValueError as error:
            raise InputError(f"{path}: column {column}: {error}") from None
    return table


def strata(traits: pd.DataFrame) -> pd.DataFrame:
    """``path``, ``size`` and ``compression`` of each image, in few classes to break scores down by; ``""`` unknown."""
    longer = traits[["width", "height"]].astype(float).max(axis=1)
    size = pd.cut(longer, [0, *SIZES, np.inf], labels=_classes(SIZES, "px")).astype(object).fillna("")
    quality = traits["JPEG quality"].astype(float)
    quality = quality.where(quality > 0)
    classes = ["JPEG below 70", "JPEG 70 to 84", "JPEG 85 to 94", "JPEG from 95"]
    compression = pd.cut(quality, [0, *QUALITIES, np.inf], right=False, labels=classes).astype(object)
    return pd.DataFrame(
        {"path": traits["path"], "size": size, "compression": compression.fillna(traits["format"]).fillna("")}
    )


def _classes(edges: tuple[int, ...], unit: str) -> list[str]:
    middle = [f"{low + 1} to {high} {unit}" for low, high in pairwise(edges)]
    return [f"to {edges[0]} {unit}", *middle, f"over {edges[-1]} {unit}"]
