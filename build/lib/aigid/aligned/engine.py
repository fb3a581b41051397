"""Generate fakes of real images in batches, here or on a Ray cluster, where the cache does not hold them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from aigid.aligned.generator import AlignSettings, FakeGenerator, Pixels, load_generator
from aigid.core import ray
from aigid.core.cache import DECODING, METADATA_FILE, CacheEntry, cache_errors, entry_path, quarantine
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, batch_size, choose_device, device_name, num_workers
from aigid.core.paths import AnyPath
from aigid.features import checkpoints
from aigid.images import ImageError, Status
from aigid.images.decode import decode, decode_with
from aigid.images.formats import read_bytes
from aigid.images.headers import Header, read_header

CACHE_KIND = "aligned"
PIXELS_SHA256 = "sha256"  # of a fake's pixels, in the text of its PNG
REVISION = 1  # of the fakes' bytes; raise it when a generator gives others than before
BASE_PIXELS = 64 * 64  # px of the images that make a batch; of larger ones it takes fewer
BATCH = 64  # of these, unless $AIGID_BATCH says otherwise
CHUNK = 256  # images that are read before the next ones are requested
JPEG_BLOCK = 8  # px: a JPEG's, and the step of Stable Diffusion's latents
ROWS = 256  # images that an actor gets at once
Shape = tuple[int, ...]
Item = TypeVar("Item")
T = TypeVar("T")


@dataclass(frozen=True)
class SourceImage:
    """The sha256 of a real image's file, its header, and its cropped pixels (H, W, 3) uint8."""

    digest: str
    header: Header
    pixels: Pixels


def read_cropped(path: AnyPath, size_multiple: int, settings: AlignSettings) -> SourceImage:
    """Read an image cropped to multiples of 8 px and of ``size_multiple``; ImageError where nothing would be left."""
    content = read_bytes(path)
    step = JPEG_BLOCK if settings.crop == "block" else 1
    pixels = crop(decode(content), lcm(JPEG_BLOCK, size_multiple), step)
    return SourceImage(hashlib.sha256(content).hexdigest(), read_header(content), pixels)


def crop(pixels: Pixels, multiple: int, step: int) -> Pixels:
    """Return the middle (h, w, 3) of (H, W, 3), h and w multiples of ``multiple``, from a multiple of ``step`` px on.

    A step of 8 px is a JPEG's block. The exact middle (1 px, DDA) may start up to 3 px further on: the grid of an old
    JPEG, which the image shows, then lies elsewhere than the grid that its fake gets.
    """
    height, width = (side // multiple * multiple for side in pixels.shape[:2])
    if not height or not width:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise ImageError(Status.TOO_SMALL, f"{size} px, want at least {multiple} x {multiple}")
    top, left = (
        (side - cropped) // 2 // step * step for side, cropped in zip(pixels.shape, (height, width), strict=False)
    )
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


class FakeBatcher:
    """Collects images until those of one size fill a batch; ``num_made`` counts the fakes that were generated.

    Batches are padded to a fixed size, so that a fake does not depend on batch composition or on an earlier kill. A
    fake lies in the cache as ``<ab>/<sha256 of the image's file>.png``, before it is compressed like its image.
    """

    def __init__(self, generator: FakeGenerator, settings: AlignSettings, device: torch.device) -> None:
        self.metadata = {
            "revision": REVISION,
            "decoding": DECODING,
            "domain": settings.domain,
            "seed": settings.seed if settings.domain == "vae" else 0,
            "architecture": generator.architecture,
            "weights_sha256": checkpoints.state_dict_hash(generator.network),
        } | settings.model_dump(include={"crop", "rounding"}, exclude_defaults=True)
        self.truncate = settings.rounding == "truncate"
        self.generator, self.device = generator.to(device), device
        self.num_made = 0
        self._pending: defaultdict[Shape, dict[str, Pixels]] = defaultdict(dict)

    @cached_property
    def entry(self) -> CacheEntry:
        """The generator's cache entry, created on first use, unless another was set."""
        return CacheEntry(entry_path(CACHE_KIND, self.metadata))

    def get(self, digest: str, shape: Shape) -> Pixels | None:
        """Return an image's fake (H, W, 3) uint8 from the cache; None where it is missing or damaged."""
        path = self._path(digest)
        if not path.exists():
            return None
        try:
            fake, written = decode_with(path, lambda image: image.info.get(PIXELS_SHA256))
        except ImageError:
            fake, written = np.empty(0, np.uint8), None
        if fake.shape == shape and written == hashlib.sha256(fake.tobytes()).hexdigest():
            return fake
        quarantine(path)
        return None

    def _path(self, digest: str) -> Path:
        return self.entry.folder / digest[:2] / f"{digest}.png"

    def add(self, image: SourceImage) -> None:
        """Request an image's fake, which is in the cache after ``flush``."""
        shape, pending = image.pixels.shape, self._pending[image.pixels.shape]
        if image.digest in pending or self.get(image.digest, shape) is not None:
            return
        pending[image.digest] = image.pixels
        if len(pending) == _batch_size(shape):
            self._generate(shape)

    def flush(self) -> None:
        """Generate the fakes of partially filled batches."""
        for shape in list(self._pending):
            self._generate(shape)

    def _generate(self, shape: Shape) -> None:
        if not (pending := self._pending.pop(shape)):
            return
        for digest, fake in zip(pending, self._forward(pending, shape), strict=False):
            text = PngInfo()
            text.add_text(PIXELS_SHA256, hashlib.sha256(fake.tobytes()).hexdigest())
            with cache_errors(), atomic_write(self._path(digest)) as part:
                Image.fromarray(fake).save(part, "PNG", compress_level=1, pnginfo=text)
        self.num_made += len(pending)

    @torch.inference_mode()
    def _forward(self, pending: dict[str, Pixels], shape: Shape) -> Pixels:
        batch = np.zeros((_batch_size(shape), *shape), np.uint8)
        batch[: len(pending)] = list(pending.values())
        digests = [*pending, *[""] * (len(batch) - len(pending))]
        pixels = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
        try:
            levels = self.generator(pixels, digests).clamp(0, 1) * 255
            fakes = (levels if self.truncate else levels.round()).byte()
        except torch.OutOfMemoryError:
            message = f"{len(batch)} images of {shape[1]} x {shape[0]} px at once are too much for the memory of"
            raise InputError(f"{message} {self.device}; AIGID_BATCH sets how many") from None
        array: Pixels = fakes.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return array


def _batch_size(shape: Shape) -> int:
    return max(1, (batch_size() or BATCH) * BASE_PIXELS // max(BASE_PIXELS, shape[0] * shape[1]))


def run_local(fakes: FakeBatcher, settings: AlignSettings, root: AnyPath, paths: list[str]) -> dict[str, str]:
    """Generate the fakes of all images; returns path and reason of those that cannot be read."""

    def read(path: str) -> SourceImage | ImageError:
        try:
            return read_cropped(root / path, fakes.generator.size_multiple, settings)
        except ImageError as error:
            return error

    unread = {}
    for path, image in zip(paths, prefetch(read, paths, str(fakes.metadata["domain"])), strict=True):
        if isinstance(image, ImageError):
            unread[path] = str(image)
        else:
            fakes.add(image)
    fakes.flush()
    return unread


def prefetch(work: Callable[[Item], T], items: list[Item], name: str) -> Iterator[T]:
    """Yield ``work`` of each item in order, computed by threads that are at most ``CHUNK`` items ahead."""
    with (
        ThreadPoolExecutor(num_workers()) as pool,
        tqdm(total=len(items), unit="image", desc=name, disable=None) as bar,
    ):
        for start in range(0, len(items), CHUNK):
            for result in pool.map(work, items[start : start + CHUNK]):
                bar.update()
                yield result


class GeneratorActor:
    """A Ray actor: loads the generator when the first paths come, and fills the shared cache with their fakes."""

    def __init__(
        self, settings: AlignSettings, root: AnyPath, metadata: dict[str, Any], entry: CacheEntry, aigid: str, _: int
    ) -> None:
        self.settings, self.root, self.metadata, self.entry, self.aigid = settings, root, metadata, entry, aigid

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Map rows ``path`` to one row ``num, made, unread``; ``unread`` is JSON."""
        before = self._fakes.num_made
        unread = run_local(self._fakes, self.settings, self.root, rows["path"].tolist())
        num_made = self._fakes.num_made - before
        return pd.DataFrame({"num": [len(rows)], "made": [num_made], "unread": [json.dumps(unread)]})

    @cached_property
    def _fakes(self) -> FakeBatcher:
        """InputError unless the fakes will be those of the driver and reach the shared cache."""
        ray.check_same_environment(self.aigid, self.entry.folder / METADATA_FILE)
        fakes = FakeBatcher(load_generator(self.settings), self.settings, choose_device(device_name()))
        if fakes.metadata != self.metadata:
            domain = self.settings.domain
            raise InputError(f"{ray.worker_info()}: its generator of {domain} is not that of this machine")
        fakes.entry = self.entry
        return fakes


def run(fakes: FakeBatcher, settings: AlignSettings, root: AnyPath, paths: list[str]) -> dict[str, str]:
    """Do as ``run_local`` with actors.

    InputError for an address without a cluster, and for workers of another version, with other weights, or that do not
    see the cache.
    """
    arguments = (settings, root.absolute(), fakes.metadata, CacheEntry(fakes.entry.folder.absolute()))
    unread: dict[str, str] = {}
    for done in ray.map_batches(GeneratorActor, arguments, pd.DataFrame({"path": paths}), ROWS):
        fakes.num_made += done["made"]
        unread |= json.loads(done["unread"])
    return {path: unread[path] for path in paths if path in unread}
