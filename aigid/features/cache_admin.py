"""List and verify the entries of the row cache, and estimate what an extraction would add to them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core.cache import CORRUPT_SUFFIX, DECODING, METADATA_FILE, CacheEntry, metadata_hash, read_metadata
from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.core.params import validate
from aigid.core.paths import AnyPath
from aigid.core.seeding import numpy_generator
from aigid.core.shards import KEY, shard_header
from aigid.degradations import views
from aigid.features import row_cache
from aigid.features.backbones import BackboneSettings, open_backbone
from aigid.features.images import Images, KeyIndex
from aigid.features.reader import Reader, ReadRequest, ViewSpec

SAMPLE = 200  # images that are embedded to measure the rate; they stay in the cache
MAX_REL_DIFF = 0.005  # relative difference: float16 rounding gives 0.0003, another batch size or device less than 0.003


@dataclass(frozen=True)
class CacheEntryInfo(CacheEntry):
    """A cache entry and its metadata, empty where that cannot be read."""

    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """Why the rows cannot be trusted or read; "" for nothing."""
        name, version = self.folder.name, self.metadata.get("schema_version")
        if not self.metadata:
            return f"{name}: {METADATA_FILE} is missing or damaged"
        if version != row_cache.SCHEMA_VERSION:
            return f"{name}: schema version {version}, this code reads {row_cache.SCHEMA_VERSION}"
        identity = {key: value for key, value in self.metadata.items() if key != "made_by"}
        return "" if metadata_hash(identity) == name else f"{name}: {METADATA_FILE} was changed"

    def to_row(self) -> dict[str, Any]:
        """Return backbone, view, seed and counts for a table; of the shards only the headers are read."""
        provenance = self.metadata.get("made_by", {})
        counts = [_num_rows(path) for path in self.shards()]
        return {
            "entry": self.folder.name,
            "backbone": f"{provenance.get('library', '?')} {provenance.get('model', '?')}",
            "fingerprint": str(self.metadata.get("tower", "?")),
            "view": (self.metadata.get("view") or {}).get("view", "?"),
            "seed": self.metadata.get("seed"),
            "rows": sum(filter(None, counts)),
            "bytes": sum(path.stat().st_size for path in self.shards()),
            "shards": len(counts),
            "damaged": counts.count(None) + len(list(self.folder.glob(f"*{CORRUPT_SUFFIX}"))),
            "error": self.error,
        }


def entries() -> list[CacheEntryInfo]:
    """Return the entries of the row cache, in a fixed order."""
    folders = sorted(path for path in row_cache.embeddings_folder().glob("*") if path.is_dir())
    return [CacheEntryInfo(folder, metadata=read_metadata(folder / METADATA_FILE)) for folder in folders]


def damaged(entry: CacheEntryInfo) -> Iterator[str]:
    """Yield a message for each shard whose bytes have changed; nothing is moved."""
    for path in entry.shards():
        if row_cache.verify_shard(path) is None:
            yield f"{path}: damaged; the next extraction sets it aside and computes its rows again"


def mismatched_rows(
    entry: CacheEntryInfo, manifest: pd.DataFrame, root: AnyPath, num_rows: int, seed: int
) -> tuple[int, list[str]]:
    """Compute a sample of an entry's rows again from the images: return how many, and what differs.

    Images are looked up by ``sha256``; an entry that shares none with the manifest gives 0.
    """
    paths = dict(zip(manifest["sha256"].to_numpy().astype(KEY), manifest["path"], strict=True))
    shards = [content for path in entry.shards() if (content := row_cache.verify_shard(path))]
    rows = [(key, row) for keys, rows in shards for key, row in zip(keys, rows, strict=True) if key in paths]
    if not rows:
        return 0, []
    name = entry.folder.name
    try:
        encode = _encoder(entry, root)
    except InputError as error:
        return 0, [f"{name}: cannot be computed again: {error}"]
    sampled = np.random.default_rng(seed).permutation(len(rows))[:num_rows]
    messages = []
    for key, row in (rows[index] for index in sorted(sampled)):
        again = encode(paths[key], key.decode())
        if isinstance(again, str):
            messages.append(f"{paths[key]}: {again}")
            continue
        distance = float(np.linalg.norm(again - row.astype(float))) / max(float(np.linalg.norm(again)), 1e-12)
        if not distance <= MAX_REL_DIFF:
            messages.append(f"{name}: {paths[key]}: the cached row differs by {distance:.2g} (relative)")
    return len(sampled), messages


def _encoder(entry: CacheEntryInfo, root: AnyPath) -> Callable[[str, str], NDArray[np.float32] | str]:
    """Return a function that embeds the image at a path as the entry's backbone does, or says why it cannot."""
    view = entry.metadata["view"]["view"]
    if json.loads(json.dumps(views.to_dict(view))) != entry.metadata["view"]:
        raise InputError(f"view {view} was defined otherwise")
    if (revision := entry.metadata.get("decoding", 1)) != DECODING:
        raise InputError(f"images were decoded by revision {revision}, this code's is {DECODING}")
    settings = validate(entry.metadata.get("made_by"), BackboneSettings, "made_by")
    backbone = open_backbone(settings)
    if backbone.fingerprint != entry.metadata["tower"]:
        raise InputError(f"the weights of {settings.model} are others than those that filled it")
    reader = Reader(root, entry.metadata["seed"])
    spec = ViewSpec(view, backbone.settings.preprocess, backbone.settings.decode)

    def encode(path: str, sha256: str) -> NDArray[np.float32] | str:
        sample = reader.read(ReadRequest(0, path, sha256, (spec,)))
        return backbone.encode(sample.inputs[spec][None])[0] if sample.inputs else f"{sample.status}: {sample.message}"

    return encode


def _num_rows(path: Path) -> int | None:
    """Return the number of rows by a shard's header, or None where it has none."""
    try:
        return int(shard_header(path)[0]["rows"]["shape"][0])
    except (OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError):
        return None


@dataclass(frozen=True)
class CostLine:
    """One backbone in one view: cached and missing images, bytes to add to the cache, bytes of the embedding file."""

    backbone: str
    view: str
    cached: int
    missing: int
    cache_bytes: int
    file_bytes: int


@dataclass(frozen=True)
class ExtractionEstimate:
    """``images`` must be read; ``rate`` is one machine's, in images/s over all backbones and views, None if unknown."""

    lines: list[CostLine]
    images: int
    rate: float | None

    @property
    def hours(self) -> float | None:
        """Hours of one machine; None without a rate."""
        return 0.0 if not self.images else self.images / self.rate / 3600 if self.rate else None

    def to_json(self) -> dict[str, object]:
        lines = [asdict(line) for line in self.lines]
        return {"images": self.images, "rate": self.rate, "hours": self.hours, "lines": lines}


def estimate(
    manifest: pd.DataFrame | Images,
    root: AnyPath,
    backbones: dict[str, BackboneSettings],
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
    rate: float | None = None,
    sample: int = SAMPLE,
) -> ExtractionEstimate:
    """Estimate the extraction of a manifest's images by backbones, which are given by name.

    Without a ``rate``, ``sample`` random images of the missing ones are embedded to measure it; their rows are cached.
    """
    from aigid.features import pipeline
    from aigid.features.extract import EncoderLoader, cached_rows

    loader, images = EncoderLoader(), Images.of(manifest)
    images.hash_unknown(root)
    keys, num_images, tasks, lines = KeyIndex(images.key), len(images), [], []
    for name, settings in backbones.items():
        backbone = loader.load(settings, num_images)
        for view in view_names:
            cached = cached_rows(backbone, views.to_dict(view), seed, keys)
            missing = ~cached.cached_mask
            width, num = backbone.dim * np.dtype(settings.dtype).itemsize, int(missing.sum())
            distinct = len(np.unique(keys.indices[missing]))
            lines.append(CostLine(name, view, num_images - num, num, distinct * (width + 64), num_images * width))
            tasks.append(pipeline.ExtractionTask(view, backbone, cached.entry, missing))
    remaining = np.flatnonzero(np.any([task.missing for task in tasks], axis=0))
    if rate is None and len(remaining):
        sampled = np.zeros(num_images, bool)
        sampled[numpy_generator("forecast", 0).permutation(remaining)[:sample]] = True
        parts = [replace(task, missing=task.missing & sampled) for task in tasks]
        start = perf_counter()
        pipeline.run(parts, Reader(root, seed), images.paths, images.key, num_workers())
        rate = int(sampled.sum()) / (perf_counter() - start)
    return ExtractionEstimate(lines, len(remaining), rate)
