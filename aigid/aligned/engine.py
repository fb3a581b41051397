"""The contract of what makes fakes of photographs."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from aigid.aligned import generator, images
from aigid.aligned.cache import ArrayCache, open_cache
from aigid.aligned.generator import AlignSettings
from aigid.aligned.images import SourceImage
from aigid.core import ray
from aigid.core.cache import METADATA_FILE
from aigid.core.errors import InputError
from aigid.core.files import batch_size, choose_device, device_name, num_workers
from aigid.core.paths import AnyPath
from aigid.features import checkpoints
from aigid.images.errors import ImageError


class FakeGenerator(Protocol):
    """A frozen generator, an ``nn.Module``, whose fakes show what the photographs show, at the same places.

    ``architecture`` and the tensors of ``network`` decide what it does, as far as the seed does not.
    """

    network: nn.Module
    multiple: int  # px; of height and width
    architecture: dict[str, object]

    def __call__(self, photographs: Tensor, digests: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] to their fakes, also about [0, 1]; chance depends on the photographs' sha256 alone."""


# Fakes of photographs, made in batches and only where the shelf does not hold them.

REVISION = 1  # of the fakes' bytes; raise it when a maker gives others than before
BASE_PIXELS = 64 * 64  # px of the images that make a batch; of larger ones it takes fewer
BATCH = 64  # of these, unless $AIGID_BATCH says otherwise


class FakeBatcher:
    """Collects photographs until those of one size fill a batch; ``num_made`` counts the fakes that were made.

    A batch of a size is always the same number of images, the last one padded, as a sum's last bits depend on it: a
    fake must not depend on its photograph's company, nor on what was made before a kill.
    """

    def __init__(self, maker: FakeGenerator, settings: AlignSettings, device: torch.device) -> None:
        self.about = {
            "revision": REVISION,
            "domain": settings.domain,
            "seed": settings.seed if settings.domain == "vae" else 0,
            "architecture": maker.architecture,
            "weights_sha256": checkpoints.state_dict_hash(maker.network),
        }
        self.maker, self.device = maker.to(device), device
        self.num_made = 0
        self._waiting: defaultdict[tuple[int, ...], dict[str, np.ndarray]] = defaultdict(dict)

    @cached_property
    def shelf(self) -> ArrayCache:
        """Theirs in this machine's cache, made when it is first asked for, unless another was set."""
        return open_cache(self.about)

    def want(self, photograph: SourceImage) -> None:
        """See to it that, once ``finish`` was called, the photograph's fake is on the shelf."""
        shape, waiting = photograph.pixels.shape, self._waiting[photograph.pixels.shape]
        if photograph.digest in waiting or self.shelf.get(photograph.digest, shape) is not None:
            return
        waiting[photograph.digest] = photograph.pixels
        if len(waiting) == _size(shape):
            self._make(shape)

    def finish(self) -> None:
        """Make the fakes that still wait for company."""
        for shape in list(self._waiting):
            self._make(shape)

    def _make(self, shape: tuple[int, ...]) -> None:
        waiting = self._waiting.pop(shape)
        if not waiting:
            return
        for digest, fake in zip(waiting, self._forward(waiting, shape), strict=False):
            self.shelf.put(digest, fake)
        self.num_made += len(waiting)

    @torch.inference_mode()
    def _forward(self, waiting: dict[str, np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        batch = np.zeros((_size(shape), *shape), np.uint8)
        batch[: len(waiting)] = list(waiting.values())
        digests = [*waiting, *[""] * (len(batch) - len(waiting))]
        pixels = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
        try:
            fakes = (self.maker(pixels, digests).clamp(0, 1) * 255).round().byte()
        except torch.OutOfMemoryError:
            what = f"{len(batch)} photographs of {shape[1]} x {shape[0]} px at once"
            raise InputError(
                f"{what} are too much for the memory of {self.device}; AIGID_BATCH sets how many"
            ) from None
        return iter(fakes.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _size(shape: tuple[int, ...]) -> int:
    return max(1, (batch_size() or BATCH) * BASE_PIXELS // max(BASE_PIXELS, shape[0] * shape[1]))


# Photographs -> maker -> shelf: each photograph's fake is made, unless the shelf holds it.

T = TypeVar("T")
CHUNK = 256  # photographs that are read before the next ones are asked for


def run_local(fakes: FakeBatcher, _: AlignSettings, root: AnyPath, paths: list[str]) -> dict[str, str]:
    """Have the fakes of all photographs made; path and reason of those that cannot be."""

    def read(path: str) -> images.SourceImage | ImageError:
        try:
            return images.read(root / path, fakes.maker.multiple)
        except ImageError as error:
            return error

    found = zip(paths, prefetch(read, paths, fakes.about["domain"]), strict=True)
    unread = {}
    for path, photograph in found:
        if isinstance(photograph, ImageError):
            unread[path] = str(photograph)
        else:
            fakes.want(photograph)
    fakes.finish()
    return unread


def prefetch(work: Callable[[object], T], items: list, name: str) -> Iterator[T]:
    """``work`` of each item in order, by threads that are at most ``CHUNK`` items ahead."""
    with (
        ThreadPoolExecutor(num_workers()) as pool,
        tqdm(total=len(items), unit="image", desc=name, disable=None) as bar,
    ):
        for start in range(0, len(items), CHUNK):
            for done in pool.map(work, items[start : start + CHUNK]):
                bar.update()
                yield done


# The making of fakes on a Ray cluster: paths travel to a pool of actors, fakes go straight to the shared shelf.

ROWS = 256  # photographs that an actor gets at once


class GeneratorActor:
    """An actor: loads the maker when the first photographs come, and fills the shelf with their fakes."""

    def __init__(
        self, settings: AlignSettings, root: AnyPath, about: dict, shelf: ArrayCache, aigid: str, _: int
    ) -> None:
        self.settings, self.root, self.about, self.shelf, self.aigid = settings, root, about, shelf, aigid
        self._fakes: FakeBatcher | None = None

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows ``path`` to one row ``num, made, unread``, the last being JSON."""
        fakes = self._loaded()
        before = fakes.num_made
        unread = run_local(fakes, self.settings, self.root, rows["path"].tolist())
        return pd.DataFrame({"num": [len(rows)], "made": [fakes.num_made - before], "unread": [json.dumps(unread)]})

    def _loaded(self) -> FakeBatcher:
        """The fakes, once it is sure that they will be those of everybody else, and will arrive."""
        if self._fakes is None:
            ray.check_same_environment(self.aigid, self.shelf.folder / METADATA_FILE)
            fakes = FakeBatcher(generator.load_generator(self.settings), self.settings, choose_device(device_name()))
            if fakes.about != self.about:
                raise InputError(
                    f"{ray.worker_info()}: its maker of {self.settings.domain} is not that of this machine"
                )
            fakes.shelf, self._fakes = self.shelf, fakes
        return self._fakes


def run(fakes: FakeBatcher, settings: AlignSettings, root: AnyPath, paths: list[str]) -> dict[str, str]:
    """As `aigid.aligned.engine.run_local`, by actors.

    InputError for an address without a cluster, workers of another version or other weights, a cache that they do not
    see.
    """
    arguments = (settings, root.absolute(), fakes.about, ArrayCache(fakes.shelf.folder.absolute()))
    unread = {}
    for done in ray.map_batches(GeneratorActor, arguments, pd.DataFrame({"path": paths}), ROWS):
        fakes.num_made += done["made"]
        unread |= json.loads(done["unread"])
    return {path: unread[path] for path in paths if path in unread}
