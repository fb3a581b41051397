"""What a glance at the pixels tells: cues without a trace of the forgery, the floor that any detector has to beat."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from aigid.base.files import num_workers
from aigid.data.audit.container import BYTES, PIXELS
from aigid.data.reading.errors import ImageError, Unreadable
from aigid.data.reading.images import decode

Pixels = NDArray[np.uint8]

OF_THUMBNAIL: dict[str, Callable[[Pixels], float]] = {  # (32, 32, 3)
    "mean red": lambda small: small[..., 0].mean(),
    "mean green": lambda small: small[..., 1].mean(),
    "mean blue": lambda small: small[..., 2].mean(),
    "contrast": lambda small: small.mean(axis=2).std(),
}
OF_LUMA: dict[str, Callable[[Pixels], float]] = {  # (H, W), the middle of the image
    "Laplacian energy": lambda luma: laplacian_energy(luma),
    "JPEG grid": lambda luma: jpeg_grid(luma),
}
HASH = "hash"
FLAT = 4.0  # contrast below which a perceptual hash is noise
SIDE, MIDDLE = 32, 256


def describe(
    paths: Sequence[str], root: str, headers: pd.DataFrame
) -> tuple[pd.DataFrame, NDArray[np.uint64], list[Unreadable]]:
    """The cues of each image that can be decoded (indexed as ``headers``), their hashes (M,), and the other images."""
    with ThreadPoolExecutor(num_workers()) as pool:
        done = pool.map(lambda path: _describe(path, root), paths)
        found = list(tqdm(done, total=len(paths), desc="pixels", unit="image", disable=None))
    good = {place: row for place, row in zip(headers.index, found, strict=True) if isinstance(row, dict)}
    table = pd.DataFrame.from_dict(good, orient="index", columns=[*OF_THUMBNAIL, *OF_LUMA])
    sizes = headers.loc[table.index]
    table = table.assign(**{BYTES: sizes[BYTES], "bytes per pixel": sizes[BYTES] / sizes[PIXELS]})
    hashes = np.array([row[HASH] for row in good.values()], np.uint64)
    return table, hashes, [row for row in found if isinstance(row, Unreadable)]


def glance(pixels: Pixels) -> dict:
    """The cues and the ``HASH`` of pixels (H, W, 3)."""
    image = Image.fromarray(pixels)
    thumbnail = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    small, luma = np.asarray(thumbnail), np.asarray(Image.fromarray(_middle(pixels)).convert("L"))
    values = {name: float(cue(small)) for name, cue in OF_THUMBNAIL.items()}
    values |= {name: float(cue(luma)) for name, cue in OF_LUMA.items()}
    flat = values["contrast"] < FLAT
    return values | {HASH: 0 if flat else perceptual_hash(np.asarray(thumbnail.convert("L")))}


def _middle(pixels: Pixels) -> Pixels:
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


def _describe(path: str, root: str) -> dict | Unreadable:
    try:
        return glance(decode(f"{root}/{path}"))
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message)
