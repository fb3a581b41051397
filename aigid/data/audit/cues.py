"""What a glance at the pixels tells: cues without a trace of the forgery, the floor that any detector has to beat."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from aigid.data.audit.container import BYTES, PIXELS, in_threads, properties, to_table
from aigid.data.reading.errors import ImageError, Unreadable
from aigid.data.reading.formats import read_bytes
from aigid.data.reading.headers import header
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
    table = pd.DataFrame.from_dict(good, orient="index", columns=[*OF_THUMBNAIL, *OF_LUMA])
    sizes = headers.loc[table.index]
    table = table.assign(**{BYTES: sizes[BYTES], "bytes per pixel": sizes[BYTES] / sizes[PIXELS]})
    hashes = np.array([row[HASH] for row in good.values()], np.uint64)
    broken = [row for place in sample.tolist() if isinstance(row := pixels[place], Unreadable)]
    return Properties(headers, sample, table, hashes, unreadable + broken)


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


def _inspect(file: str, path: str, with_pixels: bool) -> tuple[dict | Unreadable, dict | Unreadable | None]:
    """Return a file's header and, if asked for, its cues: what is read of it is read at once."""
    try:
        content = read_bytes(file) if with_pixels else file
        head = properties(header(content))
    except ImageError as error:
        return Unreadable(path, str(error.status), error.message), None
    try:
        return head, glance(decode(content)) if with_pixels else None
    except ImageError as error:
        return head, Unreadable(path, str(error.status), error.message)
