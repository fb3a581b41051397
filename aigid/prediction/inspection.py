"""The first step of a prediction: read an image once, decode it once, and say what makes any verdict unsafe."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aigid.core.embeddings import OK
from aigid.core.files import map_ahead, num_workers
from aigid.images import ImageError, Pixels
from aigid.images.color import profile_error
from aigid.images.decode import decode_with, is_halved
from aigid.prediction import inputs, metadata

T = TypeVar("T")
MAX_IMAGES, MAX_BYTES = 128, 2**27  # of a batch, of which two are in memory: images, and bytes of their pixels
HALVED_NOTE = "read at half its sides, as it has more pixels than the limit"
MIN_PIXELS = 32  # of the shorter side
SAMPLED_ROWS = 32  # of an image, evenly spaced
MAX_FLAT_SHARE = 0.5  # share of pixels equal to both neighbors, above which an image looks drawn by a screen


@dataclass(frozen=True, eq=False)
class InspectedImage:
    """The ``pixels`` (H, W, 3) uint8 of an image and the sha256 of its file, or ``status`` and ``message`` alone."""

    path: str
    sha256: str = ""
    pixels: Pixels | None = None
    warnings: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    status: str = OK
    message: str = ""
    size: tuple[int, int] | None = None  # width and height, also once the pixels are gone
    note: str = ""  # on the reading, which makes no verdict unsafe

    def without_pixels(self) -> "InspectedImage":
        """Return the same without pixels, which take the most memory."""
        return replace(self, pixels=None)


def inspect(image: Any, number: int = 0) -> InspectedImage:
    """Return what one read of an image gives: a path, or what ``inputs.encode`` takes, then called ``number``."""
    path = inputs.path_of(image) or f"{number}.png"
    try:
        return inspect_content(inputs.encode(image), path)
    except ImageError as error:
        return InspectedImage(path, status=str(error.status), message=error.message)


def inspect_content(content: bytes, path: str, max_pixels: int | None = None) -> InspectedImage:
    """Return what the bytes of an image file give."""
    digest = sha256(content).hexdigest()
    try:
        pixels, (claims, profile, halved) = decode_with(
            content, lambda image: (metadata.container(image), profile_error(image), is_halved(image)), max_pixels
        )
    except ImageError as error:
        return InspectedImage(path, digest, status=str(error.status), message=error.message)
    claims = metadata.summarize(content, claims)
    warnings = pixel_warnings(pixels)
    if profile:
        warnings += (f"its color profile cannot be used ({profile}): colors taken for sRGB",)
    size, note = (pixels.shape[1], pixels.shape[0]), HALVED_NOTE if halved else ""
    return InspectedImage(path, digest, pixels, warnings, claims, size=size, note=note)


def inspect_batches(
    images: Sequence[T], inspect: Callable[[T, int], InspectedImage] = inspect
) -> Iterator[list[InspectedImage]]:
    """Yield the inspected images in order, as ``batch_by_size``; the next batch is read while one is in use."""
    workers = num_workers()
    batches = batch_by_size(map_ahead(lambda pair: inspect(pair[1], pair[0]), enumerate(images), workers, workers + 1))
    with closing(batches), ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, batches, None)
        while batch := pending.result():
            pending = pool.submit(next, batches, None)
            yield batch


def batch_by_size(images: Iterable[InspectedImage]) -> Generator[list[InspectedImage]]:
    """Yield lists of at most ``MAX_IMAGES`` that end where their pixels reach ``MAX_BYTES``."""
    batch: list[InspectedImage] = []
    num_bytes = 0
    for image in images:
        batch.append(image)
        num_bytes += 0 if image.pixels is None else image.pixels.nbytes
        if len(batch) == MAX_IMAGES or num_bytes >= MAX_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def pixel_warnings(image: Pixels) -> tuple[str, ...]:
    """Return a line where an image (H, W, 3) uint8 has too few pixels, or looks like a screenshot."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_PIXELS:
        return (f"{width} x {height} pixels: too small to say",)
    if (share := flat_pixel_share(image)) > MAX_FLAT_SHARE:
        return (f"{share:.0%} of it is flat, as in a screenshot or a drawing: not what detectors learn from",)
    return ()


def flat_pixel_share(image: Pixels) -> float:
    """Return the share of pixels equal to their right and lower neighbor in all channels, on ``SAMPLED_ROWS`` rows."""
    rows = np.arange(0, len(image) - 1, -(-len(image) // SAMPLED_ROWS))
    upper, lower = _pack_rgb(image[rows]), _pack_rgb(image[rows + 1])
    same = (upper[:, :-1] == upper[:, 1:]) & (upper[:, :-1] == lower[:, :-1])
    return float(np.mean(same)) if same.size else 0.0


def _pack_rgb(image: Pixels) -> NDArray[np.integer[Any]]:
    packed: NDArray[np.integer[Any]] = (
        image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
    )
    return packed
