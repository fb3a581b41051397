"""Traits of images: what is known of each one without looking for a forgery, kept as a table beside the manifest."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.images.decode import decode
from aigid.images.errors import ImageError, Unreadable
from aigid.images.formats import read_bytes
from aigid.images.headers import Header, read_header

COLUMNS = ("format", "JPEG table", "chroma subsampling", "progressive", "mode", "EXIF", "software", "ICC profile")
CONTAINER = (*COLUMNS, "width", "height", "aspect", "JPEG quality", "bit depth")
SHALLOW = (
    *("mean red", "mean green", "mean blue", "contrast", "Laplacian energy", "JPEG grid"),
    *("file size", "bytes per pixel"),
)
SIZE_BINS = (128, 256, 512, 1024)  # px of the longer side
QUALITY_BINS = (70, 85, 95)  # of a JPEG


def write(traits: pd.DataFrame, path: Path | str) -> None:
    """As CSV, atomically; what is not known is an empty cell."""
    tables.write(traits, path)


def read(path: Path | str) -> pd.DataFrame:
    """What ``write`` wrote: names as text, numbers as float64, NaN where nothing is known."""
    table = tables.read(path, ("path", *CONTAINER, *SHALLOW))
    for column in {*CONTAINER, *SHALLOW} - {*COLUMNS}:
        try:
            table[column] = table[column].replace("", "nan").astype("float64")
        except ValueError as error:
            raise InputError(f"{path}: column {column}: {error}") from None
    return table


def to_strata(traits: pd.DataFrame) -> pd.DataFrame:
    """``path``, ``size`` and ``compression`` of each image, in few classes to break scores down by; ``""`` unknown."""
    longer = traits[["width", "height"]].astype(float).max(axis=1)
    size = pd.cut(longer, [0, *SIZE_BINS, np.inf], labels=_bin_labels(SIZE_BINS, "px")).astype(object).fillna("")
    quality = traits["JPEG quality"].astype(float)
    quality = quality.where(quality > 0)
    classes = ["JPEG below 70", "JPEG 70 to 84", "JPEG 85 to 94", "JPEG from 95"]
    compression = pd.cut(quality, [0, *QUALITY_BINS, np.inf], right=False, labels=classes).astype(object)
    return pd.DataFrame(
        {"path": traits["path"], "size": size, "compression": compression.fillna(traits["format"]).fillna("")}
    )


def _bin_labels(edges: tuple[int, ...], unit: str) -> list[str]:
    middle = [f"{low + 1} to {high} {unit}" for low, high in pairwise(edges)]
    return [f"to {edges[0]} {unit}", *middle, f"over {edges[-1]} {unit}"]


# What the file around the pixels tells: it must not know the label.

T = TypeVar("T")
R = TypeVar("R")
MISSING = -1  # in place of a number
CONTAINER_COLUMNS: dict[str, Callable[[Header], float | str]] = {
    "format": lambda head: head.format,
    "width": lambda head: head.width,
    "height": lambda head: head.height,
    "aspect": lambda head: round(head.width / head.height, 4),
    "JPEG quality": lambda head: head.quality or MISSING,
    "JPEG table": lambda head: _fingerprint(head.quantization_tables) if head.quantization_tables else "none",
    "chroma subsampling": lambda head: head.subsampling or "none",
    "progressive": lambda head: "yes" if head.progressive else "no",
    "mode": lambda head: head.mode,
    "bit depth": lambda head: head.bits,
    "EXIF": lambda head: "yes" if head.exif else "no",
    "software": lambda head: head.software or "none",
    "ICC profile": lambda head: "yes" if head.icc else "no",
}
BYTES, PIXELS = "file size", "pixels"  # also in the table, for the shallow cues
BATCH = 64  # files that a thread takes at once


def container_features(paths: Sequence[str], root: str) -> tuple[pd.DataFrame, list[Unreadable]]:
    """A column for each of ``CONTAINER``, ``BYTES`` and ``PIXELS``, a row for each path with a header, by position."""
    return to_table(in_threads(lambda path: _container_row(path, root), paths, "headers"))


def in_threads(work: Callable[[T], R], items: Sequence[T], name: str) -> list[R]:
    """Return ``work`` of each item in order; a thread takes ``SLICE`` of them at once."""
    slices = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(num_workers()) as pool:
        done = chain.from_iterable(pool.map(lambda part: [work(item) for item in part], slices))
        return list(tqdm(done, total=len(items), desc=name, unit="file", disable=None))


def to_table(rows: Sequence[dict | Unreadable]) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the headers by position, and the files that have none."""
    headers = {place: row for place, row in enumerate(rows) if isinstance(row, dict)}
    table = pd.DataFrame.from_dict(headers, orient="index", columns=[*CONTAINER_COLUMNS, BYTES, PIXELS])
    return table, [row for row in rows if isinstance(row, Unreadable)]


def _container_row(path: str, root: str) -> dict | Unreadable:
    try:
        return properties(read_header(f"{root}/{path}"))
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message)


def properties(head: Header) -> dict[str, float | str]:
    """Return ``CONTAINER``, ``BYTES`` and ``PIXELS`` of a file."""
    values = {name: value(head) for name, value in CONTAINER_COLUMNS.items()}
    return values | {BYTES: head.num_bytes, PIXELS: head.width * head.height}


@lru_cache(maxsize=4096)
def _fingerprint(tables: tuple[tuple[int, ...], ...]) -> str:
    return f"{crc32(repr(tables).encode()):08x}"


# What a glance at the pixels tells: cues without a trace of the forgery, the floor that any detector has to beat.

Pixels = NDArray[np.uint8]

THUMBNAIL_FEATURES: dict[str, Callable[[Pixels], float]] = {  # (32, 32, 3)
    "mean red": lambda small: small[..., 0].mean(),
    "mean green": lambda small: small[..., 1].mean(),
    "mean blue": lambda small: small[..., 2].mean(),
    "contrast": lambda small: small.mean(axis=2).std(),
}
LUMA_FEATURES: dict[str, Callable[[Pixels], float]] = {  # (H, W), the middle of the image
    "Laplacian energy": lambda luma: laplacian_energy(luma),
    "JPEG grid": lambda luma: jpeg_grid(luma),
}
PHASH = "hash"
MIN_VARIANCE = 4.0  # contrast below which a perceptual hash is noise
SIDE, MIDDLE = 32, 256


class Properties(NamedTuple):
    """Of a manifest's images, by position: headers, the sample's cues and hashes (M,), and what is unreadable."""

    headers: pd.DataFrame
    sample: NDArray[np.int64]
    cues: pd.DataFrame
    hashes: NDArray[np.uint64]
    unreadable: list[Unreadable]  # no header first, then no pixels


def inspect(paths: Sequence[str], root: str, draw: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Properties:
    """Read every header, and the pixels of the images that ``draw`` takes of those with a header, in one pass.

    Each file is opened once, but for those that are drawn in place of one which proves to have no header.
    """
    likely = set(draw(np.arange(len(paths))).tolist())
    found = in_threads(lambda place: _inspect(f"{root}/{paths[place]}", paths[place], place in likely),
                       range(len(paths)), "images")  # fmt: skip
    headers, unreadable = to_table([head for head, _ in found])
    sample = draw(headers.index.to_numpy())
    late = [place for place in sample.tolist() if place not in likely]
    again = in_threads(lambda place: _inspect(f"{root}/{paths[place]}", paths[place], True), late, "images")
    pixels = {place: row for place, (_, row) in enumerate(found)} | {
        place: row for place, (_, row) in zip(late, again, strict=True)
    }
    good = {place: pixels[place] for place in sample.tolist() if isinstance(pixels[place], dict)}
    table = pd.DataFrame.from_dict(good, orient="index", columns=[*THUMBNAIL_FEATURES, *LUMA_FEATURES])
    sizes = headers.loc[table.index]
    table = table.assign(**{BYTES: sizes[BYTES], "bytes per pixel": sizes[BYTES] / sizes[PIXELS]})
    hashes = np.array([row[PHASH] for row in good.values()], np.uint64)
    broken = [row for place in sample.tolist() if isinstance(row := pixels[place], Unreadable)]
    return Properties(headers, sample, table, hashes, unreadable + broken)


def shallow_features(pixels: Pixels) -> dict:
    """The cues and the ``HASH`` of pixels (H, W, 3)."""
    image = Image.fromarray(pixels)
    thumbnail = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    small, luma = np.asarray(thumbnail), np.asarray(Image.fromarray(_centre_crop(pixels)).convert("L"))
    values = {name: float(cue(small)) for name, cue in THUMBNAIL_FEATURES.items()}
    values |= {name: float(cue(luma)) for name, cue in LUMA_FEATURES.items()}
    flat = values["contrast"] < MIN_VARIANCE
    return values | {PHASH: 0 if flat else perceptual_hash(np.asarray(thumbnail.convert("L")))}


def _centre_crop(pixels: Pixels) -> Pixels:
    """The middle (256, 256, 3) or less, starting where a block of a JPEG would."""
    top, left = (max(side - MIDDLE, 0) // 16 * 8 for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + MIDDLE, left : left + MIDDLE])


def perceptual_hash(thumbnail: Pixels) -> int:
    """64 bits of a grey (32, 32) thumbnail: which of its lowest 8 x 8 DCT coefficients exceed their median."""
    low = dctn(thumbnail.astype(np.float64))[:8, :8].ravel()
    return int(np.packbits(low > np.median(low[1:])).view(">u8")[0])


def laplacian_energy(luma: Pixels) -> float:
    """The mean square of the 4-neighbour Laplacian of (H, W); 0 below 3 x 3 px."""
    grey = luma.astype(np.int16)
    if min(grey.shape) < 3:
        return 0.0
    edges = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(np.square(edges, dtype=np.float32).mean())


def jpeg_grid(luma: Pixels) -> float:
    """The mean step between columns 8n - 1 and 8n of (H, W) over that between all others; 1 without a JPEG's past.

    It outlives the file: pixels that once went through a JPEG keep it when they are saved as PNG.
    """
    steps = np.abs(np.diff(luma.astype(np.int16), axis=1)).mean(axis=0)
    seams = np.arange(len(steps)) % 8 == 7
    if seams.all() or not seams.any():
        return 1.0
    return float((steps[seams].mean() + 0.01) / (steps[~seams].mean() + 0.01))


def _inspect(file: str, path: str, with_pixels: bool) -> tuple[dict | Unreadable, dict | Unreadable | None]:
    """Return a file's header and, if asked for, its cues: what is read of it is read at once."""
    try:
        content = read_bytes(file) if with_pixels else file
        head = properties(read_header(content))
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message), None
    try:
        return head, shallow_features(decode(content)) if with_pixels else None
    except ImageError as error:
        return head, Unreadable(path, str(error.status), error.message)
