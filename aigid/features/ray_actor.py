"""Extraction on a Ray cluster: actors get paths, and write embeddings straight into the shared row cache."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import cache, ray, shards
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath
from aigid.features import pipeline, row_cache
from aigid.features.backbones import Backbone, BackboneSettings, open_backbone
from aigid.features.images import Digests, Keys
from aigid.features.pipeline import ExtractionTask
from aigid.features.reader import DecodedImage, Reader

ROWS = 1024  # images of a shard: what is lost with an actor that dies, and computed again


@dataclass(frozen=True)
class RemoteTask:
    """An ``ExtractionTask`` as it is sent to an actor, without backbone and rows."""

    view: str
    settings: BackboneSettings
    fingerprint: str
    batch: int
    folder: Path  # of the cache entry, seen alike by all machines
    requested: bool

    @classmethod
    def from_task(cls, task: ExtractionTask) -> "RemoteTask":
        backbone, folder = task.backbone, task.entry.folder.absolute()
        return cls(task.view, backbone.settings, backbone.fingerprint, backbone.batch, folder, task.requested)


class ExtractionActor:
    """Loads the backbones when the first rows come, and fills cache entries with the missing rows."""

    def __init__(self, tasks: list[RemoteTask], root: AnyPath, seed: int, aigid: str, workers: int) -> None:
        self.tasks, self.reader, self.aigid, self.workers = tasks, Reader(root, seed), aigid, workers
        self._backbones: dict[str, Backbone] = {}

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Map rows ``index, path, key, missing`` to one row ``num, failed``; ``failed`` is JSON."""
        missing = np.unpackbits(np.stack([np.frombuffer(bits, np.uint8) for bits in rows["missing"]]), axis=1) == 1
        tasks = [
            ExtractionTask(task.view, self.backbone(task), cache.CacheEntry(task.folder), mask, task.requested)
            for task, mask in zip(self.tasks, missing.T, strict=False)
        ]
        key = rows["key"].to_numpy().astype(shards.KEY)
        samples = pipeline.run(tasks, self.reader, rows["path"].tolist(), key, self.workers)
        index = rows["index"].tolist()
        failed = [[index[bad.index], bad.path, bad.sha256, bad.status, bad.message] for bad in samples]
        return pd.DataFrame({"num": [len(rows)], "failed": [json.dumps(failed)]})

    def backbone(self, task: RemoteTask) -> Backbone:
        """Return a task's backbone; InputError unless its rows are those of the driver and reach the shared cache."""
        if task.fingerprint not in self._backbones:
            shared = None if row_cache.remote_entry(task.folder) else task.folder / cache.METADATA_FILE
            ray.check_same_environment(self.aigid, shared)
            backbone = open_backbone(task.settings, task.batch)
            if backbone.fingerprint != task.fingerprint:
                message = f"its weights of {task.settings.model} are not those of this machine"
                raise InputError(f"{ray.worker_info()}: {message}")
            self._backbones[task.fingerprint] = backbone
        return self._backbones[task.fingerprint]


def run(
    tasks: Sequence[ExtractionTask], reader: Reader, paths: Sequence[str], key: Keys | Digests, workers: int
) -> list[DecodedImage]:
    """Do as ``aigid.features.pipeline.run`` with actors; ``workers`` is ignored.

    InputError for an address without a cluster, and for workers of another version, with other weights, or that do not
    see the cache.
    """
    tasks = [task for task in tasks if task.missing.any()]
    if not tasks:
        return []
    arguments = ([RemoteTask.from_task(task) for task in tasks], reader.root.absolute(), reader.seed)
    failed: list[DecodedImage] = []
    for done in ray.map_batches(ExtractionActor, arguments, missing_rows(tasks, paths, key), ROWS):
        failed += [DecodedImage(*sample) for sample in json.loads(done["failed"])]
    return sorted(failed, key=lambda sample: sample.index)


def missing_rows(tasks: Sequence[ExtractionTask], paths: Sequence[str], key: Keys | Digests) -> pd.DataFrame:
    """Return ``index, path, key, missing`` of the images that any task lacks; ``missing`` has a bit for each task."""
    bits = np.stack([task.missing for task in tasks], axis=1)
    indices = np.flatnonzero(bits.any(axis=1))
    packed = [row.tobytes() for row in np.packbits(bits[indices], axis=1)]
    columns = {"path": [paths[index] for index in indices.tolist()], "key": key[indices].astype(str)}
    return pd.DataFrame({"index": indices, **columns, "missing": packed})
