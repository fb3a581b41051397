"""What the row cache holds, and whether it holds what it says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core.cache import CORRUPT_SUFFIX, METADATA_FILE, CacheEntry, metadata_hash, read_metadata, shard_header
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath
from aigid.features import row_cache

MAX_REL_DIFF = 0.005  # relative difference: float16 rounding gives 0.0003, another batch size or device less than 0.003


@dataclass(frozen=True)
class CacheEntryInfo:
    """A shelf as it lies on disk; ``about`` is empty where it cannot be read."""

    shelf: CacheEntry
    about: dict[str, object]

    @property
    def fault(self) -> str:
        """Why the rows cannot be trusted or read, or nothing."""
        name = self.shelf.folder.name
        version = self.about.get("schema_version")
        if not self.about:
            return f"{name}: {METADATA_FILE} is missing or damaged"
        if version != row_cache.SCHEMA_VERSION:
            return f"{name}: schema version {version}, this code reads {row_cache.SCHEMA_VERSION}"
        identity = {key: value for key, value in self.about.items() if key != "made_by"}
        return "" if metadata_hash(identity) == name else f"{name}: {METADATA_FILE} was changed"

    def row(self) -> dict[str, object]:
        """Backbone, view, seed, rows, bytes, shards, damaged shards; of the shards only the headers are read."""
        made_by = self.about.get("made_by", {})
        counts = [_num_rows(path) for path in self.shelf.shards()]
        return {
            "shelf": self.shelf.folder.name,
            "backbone": f"{made_by.get('library', '?')} {made_by.get('model', '?')}",
            "tower": str(self.about.get("tower", "?")),
            "view": (self.about.get("view") or {}).get("view", "?"),
            "seed": self.about.get("seed"),
            "rows": sum(filter(None, counts)),
            "bytes": sum(path.stat().st_size for path in self.shelf.shards()),
            "shards": len(counts),
            "damaged": counts.count(None) + len(list(self.shelf.folder.glob(f"*{CORRUPT_SUFFIX}"))),
            "fault": self.fault,
        }


def entries() -> list[CacheEntryInfo]:
    """The shelves of the cache, in a fixed order."""
    folders = sorted(path for path in row_cache.embeddings_folder().glob("*") if path.is_dir())
    return [CacheEntryInfo(CacheEntry(folder), read_metadata(folder / METADATA_FILE)) for folder in folders]


def damaged(entry: CacheEntryInfo) -> Iterator[str]:
    """Each shard whose bytes are not those that were written; nothing is moved."""
    for path in entry.shelf.shards():
        if row_cache.verify_shard(path) is None:
            yield f"{path}: damaged; the next extraction sets it aside and computes its rows again"


def mismatched_rows(
    entry: CacheEntryInfo, manifest: pd.DataFrame, root: AnyPath, num_rows: int, seed: int
) -> tuple[int, list[str]]:
    """Compute a sample of a shelf's rows again from the images: how many, and what differs.

    Images are found by ``sha256``; a shelf that shares none with the manifest gives 0.
    """
    paths = dict(zip(manifest["sha256"].astype("S64"), manifest["path"], strict=True))
    shards = [content for path in entry.shelf.shards() if (content := row_cache.verify_shard(path))]
    rows = [(key, row) for have, rows in shards for key, row in zip(have, rows, strict=True) if key in paths]
    if not rows:
        return 0, []
    try:
        encode = _encoder(entry, root)
    except InputError as error:
        return 0, [f"{entry.shelf.folder.name}: cannot be computed again: {error}"]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:num_rows]
    found = []
    for key, row in (rows[place] for place in sorted(chosen)):
        again = encode(paths[key], key.decode())
        if isinstance(again, str):
            found.append(f"{paths[key]}: {again}")
            continue
        distance = np.linalg.norm(again - row.astype(float)) / max(np.linalg.norm(again), 1e-12)
        if not distance <= MAX_REL_DIFF:
            found.append(
                f"{entry.shelf.folder.name}: {paths[key]}: the cached row differs by {distance:.2g} (relative)"
            )
    return len(chosen), found


def _encoder(entry: CacheEntryInfo, root: AnyPath) -> Callable[[str, str], np.ndarray | str]:
    """What embeds the image at a path, or says why not, as the shelf's tower does in the shelf's view."""
    from aigid.core.files import choose_device, device_name
    from aigid.core.params import validate
    from aigid.degradations import views
    from aigid.features.backbones import BackboneSettings
    from aigid.features.encoder import Backbone
    from aigid.features.reader import Reader, ReadRequest, ViewSpec

    view = entry.about["view"]["view"]
    if json.loads(json.dumps(views.to_dict(view))) != entry.about["view"]:
        raise InputError(f"view {view} was defined otherwise")
    settings = validate(entry.about.get("made_by"), BackboneSettings, "made_by")
    tower = Backbone(settings, choose_device(device_name()))
    if tower.fingerprint != entry.about["tower"]:
        raise InputError(f"the weights of {settings.model} are others than those that filled it")
    reader = Reader(root, entry.about["seed"])
    wanted = ViewSpec(view, tower.settings.preprocess, tower.settings.decode)

    def encode(path: str, sha256: str) -> np.ndarray | str:
        sample = reader.read(ReadRequest(0, path, sha256, (wanted,)))
        return tower.encode(sample.squares[wanted][None])[0] if sample.squares else f"{sample.status}: {sample.message}"

    return encode


def _num_rows(path: Path) -> int | None:
    """Rows by a shard's header, or None where it has none."""
    try:
        return shard_header(path)[0]["rows"]["shape"][0]
    except (OSError, ValueError, LookupError, TypeError, MemoryError, OverflowError):
        return None
