"""Properties of images that say nothing of a forgery: headers, and shallow features of the pixels."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from aigid.core.files import map_in_threads
from aigid.core.traits import PIXEL_FEATURES
from aigid.images import ImageError, Pixels, Unreadable
from aigid.images.decode import decode
from aigid.images.formats import read_bytes
from aigid.images.headers import Header, read_header

MISSING = -1  # in place of a number
BYTES, PIXELS = "file size", "pixels"  # also in the table of headers, for the shallow features
PHASH = "hash"
MIN_VARIANCE = 4.0  # contrast below which a perceptual hash is noise
SIDE, MIDDLE = 32, 256  # px of the thumbnail, and of the crop
COSINES = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(SIDE) + 1) / (2 * SIDE))  # DCT-II, lowest frequencies
Values = dict[str, Any]  # of an image, by column


@lru_cache(maxsize=4096)
def _fingerprint(tables: tuple[tuple[int, ...], ...]) -> str:
    return f"{crc32(repr(tables).encode()):08x}"


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


class Properties(NamedTuple):
    """Properties of a list of paths, by position; features and hashes (M,) of the readable images of the sample."""

    headers: pd.DataFrame
    sample: NDArray[np.int64]
    cues: pd.DataFrame
    hashes: NDArray[np.uint64]
    unreadable: list[Unreadable]  # those without a header first, then those without pixels


def container_features(paths: Sequence[str], root: str) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the headers by position (``CONTAINER``, ``BYTES``, ``PIXELS``), and the files that have none."""
    return _header_table([values for values, _ in _inspect_all(range(len(paths)), paths, root, set())])


def inspect(paths: Sequence[str], root: str, draw: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Properties:
    """Read every header, and the pixels of the images that ``draw`` takes of those with a header, in one pass.

    Each file is opened once, but for those sampled in place of one that proves to have no header.
    """
    likely = set(draw(np.arange(len(paths))).tolist())
    results = _inspect_all(range(len(paths)), paths, root, likely)
    headers, unreadable = _header_table([values for values, _ in results])
    sample = draw(headers.index.to_numpy())
    late = [index for index in sample.tolist() if index not in likely]
    pixels = dict(enumerate(values for _, values in results))
    pixels |= zip(late, (values for _, values in _inspect_all(late, paths, root, set(late))), strict=True)
    good = {index: values for index in sample.tolist() if isinstance(values := pixels[index], dict)}
    cues = pd.DataFrame.from_dict(good, orient="index", columns=PIXEL_FEATURES)
    sizes = headers.loc[cues.index]
    cues = cues.assign(**{BYTES: sizes[BYTES], "bytes per pixel": sizes[BYTES] / sizes[PIXELS]})
    hashes = np.array([values[PHASH] for values in good.values()], np.uint64)
    broken = [values for index in sample.tolist() if isinstance(values := pixels[index], Unreadable)]
    return Properties(headers, sample, cues, hashes, unreadable + broken)


def _inspect_all(
    indices: Sequence[int], paths: Sequence[str], root: str, with_pixels: set[int]
) -> list[tuple[Values | Unreadable, Values | Unreadable | None]]:
    """Return header and shallow features of each file; the latter are None unless its index is in ``with_pixels``."""
    results = map_in_threads(lambda index: _inspect(paths[index], root, index in with_pixels), indices)
    name = "images" if with_pixels else "headers"
    return list(tqdm(results, total=len(indices), desc=name, unit="file", disable=None))


def _inspect(path: str, root: str, with_pixels: bool) -> tuple[Values | Unreadable, Values | Unreadable | None]:
    try:
        content = read_bytes(f"{root}/{path}") if with_pixels else f"{root}/{path}"
        header = read_header(content)
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message), None
    values = {name: value(header) for name, value in CONTAINER_COLUMNS.items()}
    values |= {BYTES: header.num_bytes, PIXELS: header.width * header.height}
    try:
        return values, shallow_features(decode(content)) if with_pixels else None
    except ImageError as error:
        return values, Unreadable(path, str(error.status), error.message)


def _header_table(rows: Sequence[Values | Unreadable]) -> tuple[pd.DataFrame, list[Unreadable]]:
    headers = {index: row for index, row in enumerate(rows) if isinstance(row, dict)}
    table = pd.DataFrame.from_dict(headers, orient="index", columns=[*CONTAINER_COLUMNS, BYTES, PIXELS])
    return table, [row for row in rows if isinstance(row, Unreadable)]


def shallow_features(pixels: Pixels) -> Values:
    """Return the features and the ``PHASH`` of pixels (H, W, 3): of a thumbnail, and of the middle's luma."""
    thumbnail = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    small, luma = np.asarray(thumbnail), np.asarray(Image.fromarray(_center_crop(pixels)).convert("L"))
    contrast = float(small.mean(axis=2).std())
    values: Values = {f"mean {color}": float(small[..., n].mean()) for n, color in enumerate(("red", "green", "blue"))}
    values |= {"contrast": contrast, "Laplacian energy": laplacian_energy(luma), "JPEG grid": jpeg_grid(luma)}
    return values | {PHASH: 0 if contrast < MIN_VARIANCE else perceptual_hash(np.asarray(thumbnail.convert("L")))}


def _center_crop(pixels: Pixels) -> Pixels:
    """Return the middle (256, 256, 3) or less, starting where a block of a JPEG would."""
    top, left = (max(side - MIDDLE, 0) // 16 * 8 for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + MIDDLE, left : left + MIDDLE])


def perceptual_hash(thumbnail: Pixels) -> int:
    """Return 64 bits of a gray (32, 32) thumbnail: which of its lowest 8 x 8 DCT coefficients exceed their median."""
    low = (COSINES @ thumbnail @ COSINES.T).ravel()
    return int(np.packbits(low > np.median(low[1:])).view(">u8")[0])


def laplacian_energy(luma: Pixels) -> float:
    """Return the mean square of the 4-neighbor Laplacian of (H, W); 0 below 3 x 3 px."""
    gray = luma.astype(np.int16)
    if min(gray.shape) < 3:
        return 0.0
    edges = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.square(edges, dtype=np.float32).mean())


def jpeg_grid(luma: Pixels) -> float:
    """Return the mean step between columns 8n - 1 and 8n of (H, W) over that between all others.

    It exceeds 1 for pixels that once went through a JPEG, whatever file they are in now.
    """
    steps = np.abs(np.diff(luma.astype(np.int16), axis=1)).mean(axis=0)
    seams = np.arange(len(steps)) % 8 == 7
    if seams.all() or not seams.any():
        return 1.0
    return float((steps[seams].mean() + 0.01) / (steps[~seams].mean() + 0.01))
