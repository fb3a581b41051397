"""From a manifest to the network's inputs; of the channels the cache holds the costly one, of images seen again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from aigid.core import cache, embeddings, seeding
from aigid.core.cache import CacheEntry, ShardWriter, StoredArrays, entry_path, metadata_hash
from aigid.core.errors import InputError
from aigid.core.files import cache_folder, check_free_space, choose_device, device_name, num_workers, sha256
from aigid.core.texts import batches
from aigid.degradations import views
from aigid.detectors.cnn.settings import Channel, CnnSettings
from aigid.features.preprocess import Pixels, Preprocess
from aigid.features.reader import DecodedImage, Reader, ReadRequest, ViewSpec
from aigid.generators import BATCH, PIXELS

REVISION = 1  # of the channels' bytes; raise it when any gives other bytes than before
KIND = "channels"  # of the cache
SHARD_BYTES, MEMORY_BYTES = 1 << 28, 1 << 30  # of decoded images that stay in memory while a network trains
VAE_FILES = ("diffusion_pytorch_model.safetensors", "config.json")


@dataclass(frozen=True)
class ChannelView:
    """Readable images, ``keys`` (N,) their sha256 and ``labels`` (N,) int64 their classes, in one or several views.

    Each view of each image is an item, view by view; where they are ``sampled``, each image is one, in a view that
    depends on epoch and image.
    """

    source: "ChannelDataset"
    paths: list[str]
    keys: list[str]
    labels: np.ndarray
    views: tuple[str, ...] = ("clean",)
    sampled: bool = False

    def __len__(self) -> int:
        return len(self.y)

    @property
    def y(self) -> np.ndarray:
        """The class of each item."""
        return self.labels if self.sampled else np.tile(self.labels, len(self.views))

    def request(self, number: int, epoch: int = 0) -> ReadRequest:
        """Return what to read of an item."""
        view, image = divmod(number, len(self.keys))
        if self.sampled:
            view = seeding.derive_seed("cnn view", self.source.seed, epoch, self.keys[image]) % len(self.views)
        return self.source.request(self.paths[image], self.keys[image], self.views[view])

    def take(self, numbers: Sequence[int] | np.ndarray, epoch: int = 0) -> np.ndarray:
        """(n, C, S, S) uint8 of the items at ``numbers``."""
        return self.source.take([self.request(int(number), epoch) for number in numbers])


class ChannelDataset:
    """Computes the channels of images below ``root``: the error through the cache, the others from pixels."""

    def __init__(
        self,
        settings: CnnSettings,
        vae_folder: Path,
        root: Path,
        seed: int,
        pixels: Mapping[str, np.ndarray] | None = None,
        cache_root: Path | None = None,
    ) -> None:
        self.settings, self.seed = settings, seed
        self._reader, self._cache_root = Reader(root, seed, pixels or {}), cache_root or cache_folder()
        self.preprocess = Preprocess(size=settings.size, resize="squash", interpolation="bilinear")
        self.batch = min(BATCH, max(PIXELS // settings.size**2, 1))
        self._vae_folder = vae_folder
        self._maps: dict[str, StoredArrays] = {}  # by view
        self._memory: dict[ReadRequest, DecodedImage] = {}

    @property
    def fingerprints(self) -> list[str]:
        """Of the clean view's channels: equal where equal images give equal channels."""
        return [metadata_hash(self._metadata(channel, "clean")) for channel in self.settings.channels]

    def view(
        self, manifest: pd.DataFrame, y: np.ndarray, names: Sequence[str] = ("clean",), sampled_epochs: int = 0
    ) -> ChannelView:
        """Return the readable images with classes ``y``, once the cache has the errors of all that an epoch sees."""
        paths, keys, sampled = manifest["path"].tolist(), manifest["sha256"].tolist(), sampled_epochs > 0
        images = ChannelView(self, paths, keys, y, tuple(names), sampled)
        failed = self._fill(starmap(images.request, product(range(len(images)), range(sampled_epochs or 1))))
        good = [number for number, key in enumerate(images.keys) if key not in failed]
        paths, keys = ([column[number] for number in good] for column in (images.paths, images.keys))
        return replace(images, paths=paths, keys=keys, labels=y[good])

    def request(self, path: str, key: str, view: str, index: int = 0) -> ReadRequest:
        """Return what to read of an image in a view: the pixels, and those that its side channels are taken of."""
        return ReadRequest(index, path, key, tuple(dict.fromkeys((self._spec(view), self._side_spec(view)))))

    def read(self, requests: Sequence[ReadRequest], name: str) -> Iterator[DecodedImage]:
        """Yield the images in order, read and decoded ahead."""
        read = self._reader.samples(requests, num_workers(), 4 * self.batch)
        yield from tqdm(read, total=len(requests), unit="image", desc=name, disable=None)

    def keep_in_memory(self, requests: Sequence[ReadRequest]) -> None:
        """Read images that will be taken again and again, if they fit; processes that are forked later have them."""
        if len(requests) * 3 * self.settings.size**2 <= MEMORY_BYTES:
            self._memory = self._read(requests)

    def take(self, requests: Sequence[ReadRequest]) -> np.ndarray:
        """(n, C, S, S) uint8 of images to train on."""
        samples = self._read([request for request in requests if request not in self._memory])
        images = [samples.get(request) or self._memory[request] for request in requests]
        return self.channels(images, [request.view_specs[0].view for request in requests])

    def _read(self, requests: Sequence[ReadRequest]) -> dict[ReadRequest, DecodedImage]:
        samples = dict(zip(requests, self._reader.samples(requests, num_workers(), len(requests) + 1), strict=True))
        if failed := [sample for sample in samples.values() if sample.status != embeddings.OK]:
            raise InputError(f"{failed[0].path}: {failed[0].status}, and was readable before: {failed[0].message}")
        return samples

    def channels(self, samples: Sequence[DecodedImage], names: Sequence[str]) -> np.ndarray:
        """(n, C, S, S) uint8 of readable images, each in its view; errors that the cache lacks are not kept."""
        side = [sample.inputs[self._side_spec(name)] for sample, name in zip(samples, names, strict=True)]
        stack = []
        for channel in self.settings.channels:
            if channel == "rgb":
                arrays = [sample.inputs[self._spec(name)] for sample, name in zip(samples, names, strict=True)]
            elif channel == "frequency":
                wrap = "wrap_frequency" in self.settings.compat
                arrays = [log_magnitude_spectrum(square, wrap)[..., None] for square in side]
            else:
                arrays = self._errors([sample.sha256 for sample in samples], side, names)
            stack.append(np.stack(arrays))
        return np.concatenate(stack, axis=3).transpose(0, 3, 1, 2)

    def _errors(self, keys: list[str], squares: list[Pixels], names: Sequence[str]) -> list[Pixels]:
        """Return the error (S, S, 1) uint8 of each image in its view, from the cache where it is there."""
        stored = [self._stored(self._side_spec(name).view) for name in names]
        todo = [number for number, key in enumerate(keys) if key not in stored[number]]
        new: dict[int, Pixels] = {}
        for start in range(0, len(todo), self.batch):
            part = todo[start : start + self.batch]
            computed = self._compute([keys[number] for number in part], [squares[number] for number in part])
            new |= zip(part, computed, strict=True)
        return [new[number] if number in new else stored[number][key] for number, key in enumerate(keys)]

    def _spec(self, view: str) -> ViewSpec:
        return ViewSpec(view, self.preprocess)

    def _side_spec(self, view: str) -> ViewSpec:
        return self._spec("clean" if "clean_side_channels" in self.settings.compat else view)

    def _stored(self, view: str) -> StoredArrays:
        if view not in self._maps:
            folder = self._cache_root / KIND / metadata_hash(self._metadata("error", view, decoding=cache.DECODING))
            self._maps[view] = StoredArrays(CacheEntry(folder))
        return self._maps[view]

    def _metadata(self, channel: Channel, view: str, **more: Any) -> dict[str, Any]:
        settings = self.settings
        metadata: dict[str, Any] = {"revision": REVISION, "channel": channel, "size": settings.size, **more}
        metadata |= {"view": views.to_dict(view), "seed": 0 if view == "clean" else self.seed}
        if channel == "frequency":
            metadata["wrap"] = "wrap_frequency" in settings.compat
        if channel == "error":
            files = [sha256(self._vae_folder / name) for name in VAE_FILES]
            metadata |= {"vae": files, "offset": "legacy_offset" in settings.compat, "latent": settings.latent}
        return metadata

    def _fill(self, requests: Iterable[ReadRequest]) -> dict[str, str]:
        """Compute the errors that the cache lacks; return why images failed, by their sha256."""
        self._maps.clear()  # other processes may have added some
        if "error" not in self.settings.channels:
            read = self.read(list({request.sha256: request for request in requests}.values()), "read")
            return {sample.sha256: str(sample.status) for sample in read if sample.status != embeddings.OK}
        todo: dict[str, dict[str, ReadRequest]] = {}
        for request in requests:
            spec = request.view_specs[-1]
            if request.sha256 not in self._stored(spec.view):
                todo.setdefault(spec.view, {})[request.sha256] = replace(request, view_specs=(spec,))
        num_bytes = sum(map(len, todo.values())) * self.settings.size**2
        check_free_space({self._cache_root / KIND: num_bytes})
        failed: dict[str, str] = {}
        for view, missing in todo.items():
            metadata = self._metadata("error", view, decoding=cache.DECODING)
            entry = CacheEntry(entry_path(KIND, metadata, root=self._cache_root))
            with ShardWriter(entry, max_bytes=SHARD_BYTES, by_key=True) as writer:
                for samples in batches(self.read(list(missing.values()), view), self.batch):
                    failed |= {image.sha256: str(image.status) for image in samples if image.status != embeddings.OK}
                    good = {image.sha256: image.inputs[self._spec(view)] for image in samples if image.inputs}
                    for key, error in zip(good, self._compute(list(good), list(good.values())), strict=True):
                        writer.add(key, error)
        self._maps.clear()  # as there are more of them now
        return failed

    def _compute(self, keys: list[str], squares: list[Pixels]) -> list[Pixels]:
        """Return the error (S, S, 1) uint8 of at most ``batch`` images."""
        from aigid.generators.autoencoder_kl import reconstruct

        if not squares:
            return []
        seeds = [seeding.derive_seed("latent", self.seed, key) for key in keys]
        padded = np.stack(squares + squares[:1] * (self.batch - len(squares)))
        seeds += seeds[:1] * (len(padded) - len(squares))
        copies = reconstruct(self.vae, padded, seeds if self.settings.latent == "sample" else None)
        offset = "legacy_offset" in self.settings.compat
        return [reconstruction_error(*pair, offset)[..., None] for pair in zip(squares, copies, strict=False)]

    @cached_property
    def vae(self) -> Any:
        """The VAE on its device, loaded when it is first needed."""
        from aigid.generators.autoencoder_kl import load, require_divisible

        vae: Any = load(self._vae_folder)
        require_divisible(vae, self.settings.size)
        return vae.to(choose_device(device_name()))


def luma(image: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 to (S, S) uint8 by Rec. 601, as Pillow's mode "L"."""
    return np.asarray(Image.fromarray(image).convert("L"))


def log_magnitude_spectrum(image: np.ndarray, wrap: bool = False) -> np.ndarray:
    """Return 20 ln |F| (S, S) uint8 of the luma of an image (S, S, 3) uint8, lowest frequency in the middle.

    Values beyond 0 to 255 are clipped; with ``wrap`` they are taken modulo 256, as in the published code.
    """
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luma(image).astype(np.float64))))
    levels = 20 * np.log(magnitude + 1e-8)
    spectrum: np.ndarray = np.trunc(levels).astype(np.int64) % 256 if wrap else np.clip(levels, 0, 255)
    return spectrum.astype(np.uint8)


def reconstruction_error(image: np.ndarray, reconstruction: np.ndarray, offset: bool = False) -> np.ndarray:
    """Return an autoencoder's error, (S, S) uint8: the luma of e/2, e = |x - x'| with pixels on the scale -1 to 1.

    ``image`` (S, S, 3) uint8, ``reconstruction`` (S, S, 3) float32 in about [-1, 1].
    With ``offset`` the published e/2 + 1/2.
    """
    wrong = np.abs(image.astype(np.float32) / 127.5 - 1 - reconstruction) / 2 + (0.5 if offset else 0)
    return luma((np.clip(wrong, 0, 1) * 255).astype(np.uint8))
