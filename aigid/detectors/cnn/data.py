"""From a manifest to the network's inputs, computing only the channels that the cache does not hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from aigid.core import embeddings, seeding
from aigid.core.cache import CacheEntry, ShardWriter, entry_path, memory_map
from aigid.core.files import choose_device, device_name, num_workers, sha256
from aigid.degradations import views
from aigid.detectors.cnn.settings import Channel, CnnSettings
from aigid.features.preprocess import Preprocess
from aigid.features.reader import DecodedImage, Reader, ReadRequest, ViewSpec

REVISION = 1  # of the channels' bytes; raise it when any gives other bytes than before
SHARD_BYTES = 1 << 28
VAE_FILES = ("diffusion_pytorch_model.safetensors", "config.json")
BATCH, PIXELS = 64, 1 << 20  # images and pixels through the VAE at once; fixed, as sums depend on it


@dataclass(frozen=True)
class ChannelView:
    """Images of one view: ``keys`` (N,) their sha256, ``y`` (N,) int64 their class; their channels lie on disk."""

    keys: list[str]
    y: np.ndarray
    pictures: list[dict[str, np.ndarray]]  # of each channel, by key

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, C, S, S) uint8 of the images at ``indices``."""
        stack = [np.concatenate([arrays[self.keys[index]] for arrays in self.pictures], axis=2) for index in indices]
        return np.stack(stack).transpose(0, 3, 1, 2)


class ChannelDataset:
    """Computes the channels of images below ``root``, through the cache."""

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
        self._reader, self._cache_root = Reader(root, seed, pixels or {}), cache_root
        self.preprocess = Preprocess(size=settings.size, resize="squash", interpolation="bilinear")
        self.batch = min(BATCH, max(PIXELS // settings.size**2, 1))
        self._vae_folder = vae_folder

    @property
    def fingerprints(self) -> list[str]:
        """Of the clean view's channels: equal where equal images give equal channels."""
        return [self._cache(channel, "clean").folder.name for channel in self.settings.channels]

    def samples(self, manifest: pd.DataFrame, y: np.ndarray, view: str) -> tuple[ChannelView, np.ndarray]:
        """Return the readable images of a manifest with classes ``y`` in one view, and the status of every row."""
        entries = {channel: self._cache(channel, view) for channel in self.settings.channels}
        status = np.full(len(manifest), embeddings.OK, dtype=object)
        pictures: dict[Channel, dict[str, np.ndarray]] = {}
        for effective_view in dict.fromkeys(self._view(channel, view) for channel in entries):
            mine = {channel: entry for channel, entry in entries.items() if self._view(channel, view) == effective_view}
            for key, why in self._fill(manifest, effective_view, mine).items():
                status[manifest["sha256"].to_numpy() == key] = why
            pictures |= {channel: load_arrays(entry) for channel, entry in mine.items()}
        good = np.flatnonzero(status == embeddings.OK)
        keys = manifest["sha256"].to_numpy()[good].tolist()
        return ChannelView(keys, y[good], [pictures[channel] for channel in self.settings.channels]), status

    def _view(self, channel: Channel, view: str) -> str:
        clean = channel != "rgb" and "clean_side_channels" in self.settings.compat
        return "clean" if clean else view

    def _cache(self, channel: Channel, view: str) -> CacheEntry:
        view, settings = self._view(channel, view), self.settings
        metadata: dict[str, Any] = {"channel": channel, "size": settings.size, "view": views.to_dict(view)}
        metadata["seed"] = 0 if view == "clean" else self.seed
        if channel == "frequency":
            metadata["wrap"] = "wrap_frequency" in settings.compat
        if channel == "error":
            files = [sha256(self._vae_folder / name) for name in VAE_FILES]
            metadata |= {"vae": files, "offset": "legacy_offset" in settings.compat, "latent": settings.latent}
        return CacheEntry(entry_path("channels", {"revision": REVISION} | metadata, root=self._cache_root))

    def _fill(self, manifest: pd.DataFrame, view: str, entries: dict[Channel, CacheEntry]) -> dict[str, str]:
        """Compute what the entries lack; return why images failed, by their sha256."""
        paths = dict(zip(manifest["sha256"], manifest["path"], strict=True))
        have = set.intersection(*(set(load_arrays(entry)) for entry in entries.values()))
        spec = ViewSpec(view, self.preprocess)
        requests = [ReadRequest(0, path, key, (spec,)) for key, path in paths.items() if key not in have]
        failed: dict[str, str] = {}
        with ExitStack() as stack, tqdm(total=len(requests), unit="image", desc=view, disable=None) as bar:
            writers = {
                name: stack.enter_context(ShardWriter(entry, max_bytes=SHARD_BYTES, by_key=True))
                for name, entry in entries.items()
            }
            read = self._reader.samples(requests, num_workers(), 4 * self.batch)
            for samples in batches(read, self.batch):
                failed |= {sample.sha256: str(sample.status) for sample in samples if sample.status != embeddings.OK}
                good = {sample.sha256: sample.inputs[spec] for sample in samples if sample.status == embeddings.OK}
                for channel, writer in writers.items():
                    for key, picture in zip(good, self._make(channel, list(good), list(good.values())), strict=True):
                        writer.add(key, picture)
                bar.update(len(samples))
        return failed

    def _make(self, channel: Channel, keys: list[str], squares: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield one channel (S, S, C) uint8 of each image."""
        compat = self.settings.compat
        if channel == "rgb" or not squares:
            yield from squares
        elif channel == "frequency":
            yield from (log_magnitude_spectrum(square, "wrap_frequency" in compat)[..., None] for square in squares)
        else:
            from aigid.generators.autoencoder_kl import reconstruct

            seeds = [seeding.derive_seed("latent", self.seed, key) for key in keys]
            padded = np.stack(squares + squares[:1] * (self.batch - len(squares)))
            seeds += seeds[:1] * (len(padded) - len(squares))
            reconstructions = reconstruct(self.vae, padded, seeds if self.settings.latent == "sample" else None)
            for square, copy in zip(squares, reconstructions, strict=False):
                yield reconstruction_error(square, copy, "legacy_offset" in compat)[..., None]

    @cached_property
    def vae(self) -> Any:
        """The VAE on its device, loaded when it is first needed."""
        from aigid.generators.autoencoder_kl import load, require_divisible

        vae: Any = load(self._vae_folder)
        require_divisible(vae, self.settings.size)
        return vae.to(choose_device(device_name()))


def load_arrays(entry: CacheEntry) -> dict[str, np.ndarray]:
    """Return every cached array (S, S, C) by its image's sha256, on disk until it is looked at."""
    arrays: dict[str, np.ndarray] = {}
    for path in entry.shards():
        key = np.ascontiguousarray(memory_map(path, "key")).view("S64").ravel().astype(str).tolist()
        arrays |= zip(key, memory_map(path, "rows"), strict=True)
    return arrays


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


def batches(samples: Iterable[DecodedImage], size: int) -> Iterator[list[DecodedImage]]:
    """Yield the samples, ``size`` at a time and the rest at the end."""
    group: list[DecodedImage] = []
    for sample in samples:
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
