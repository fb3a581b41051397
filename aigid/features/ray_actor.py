"""The engine on a Ray cluster: paths travel to a pool of actors, embeddings go straight into the shared row cache.

An actor decodes what it encodes, and writes shards of its own; the open one of an actor that dies is computed again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import cache, ray
from aigid.core.cache import METADATA_FILE
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.core.paths import AnyPath
from aigid.features import pipeline, remote_cache
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import Backbone
from aigid.features.reader import DecodedImage, Reader

ROWS = 1024  # images of a shard: what an actor that dies takes with it


@dataclass(frozen=True)
class RemoteTask:
    """What an actor must know of a block to fill it."""

    view: str
    settings: BackboneSettings
    fingerprint: str
    batch: int
    folder: Path  # of the shelf, seen alike by all machines
    asked: bool


class ExtractionActor:
    """An actor: loads the towers when the first rows come, and fills the shelves with what is missing of them."""

    def __init__(self, tasks: list[RemoteTask], root: AnyPath, seed: int, aigid: str, workers: int) -> None:
        self.tasks, self.reader, self.aigid, self.workers = tasks, Reader(root, seed), aigid, workers
        self._towers: dict[str, Backbone] = {}

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows ``place, path, key, missing`` to one row ``num, failed``, what failed being JSON."""
        missing = np.unpackbits(np.stack(rows["missing"].map(lambda bits: np.frombuffer(bits, np.uint8))), axis=1)
        blocks = [
            pipeline.ExtractionTask(
                task.view, self._tower(task), cache.CacheEntry(task.folder), missing[:, number] == 1, task.asked
            )
            for number, task in enumerate(self.tasks)
        ]
        key = rows["key"].to_numpy().astype(cache.KEY)
        failed = pipeline.run(blocks, self.reader, rows["path"].tolist(), key, self.workers)
        told = [[int(rows["place"].iloc[it.place]), it.path, it.sha256, it.status, it.message] for it in failed]
        return pd.DataFrame({"num": [len(rows)], "failed": [json.dumps(told)]})

    def _tower(self, task: RemoteTask) -> Backbone:
        """The tower, once it is sure that its rows will be those of everybody else, and will arrive."""
        if task.fingerprint not in self._towers:
            ray.check_same_environment(
                self.aigid, None if remote_cache.remote_entry(task.folder) else task.folder / METADATA_FILE
            )
            tower = Backbone(task.settings, choose_device(device_name()), task.batch)
            if tower.fingerprint != task.fingerprint:
                raise InputError(
                    f"{ray.worker_info()}: its weights of {task.settings.model} are not those of this machine"
                )
            self._towers[task.fingerprint] = tower
        return self._towers[task.fingerprint]


def run(
    blocks: Sequence[pipeline.ExtractionTask], reader: Reader, paths: list[str], key: np.ndarray, workers: int
) -> list[DecodedImage]:
    """As `aigid.features.pipeline.run`, by actors; ``workers`` does not count, as each has the processors it asks for.

    InputError for an address without a cluster, workers of another version or other weights, a cache that they do not
    see.
    """
    blocks = [block for block in blocks if block.missing.any()]
    if not blocks:
        return []
    rows = missing_rows(blocks, paths, key)
    tasks = [_task(block) for block in blocks]
    failed = []
    for done in ray.map_batches(ExtractionActor, (tasks, reader.root.absolute(), reader.seed), rows, ROWS):
        failed += [DecodedImage(*told) for told in json.loads(done["failed"])]
    return sorted(failed, key=lambda sample: sample.place)


def missing_rows(blocks: Sequence[pipeline.ExtractionTask], paths: list[str], key: np.ndarray) -> pd.DataFrame:
    """``place, path, key, missing`` of the images that any block lacks; ``missing`` has a bit for each block."""
    bits = np.stack([block.missing for block in blocks], axis=1)
    places = np.flatnonzero(bits.any(axis=1))
    packed = [row.tobytes() for row in np.packbits(bits[places], axis=1)]
    named = {"path": [paths[place] for place in places], "key": key[places].astype(str)}
    return pd.DataFrame({"place": places, **named, "missing": packed})


def _task(block: pipeline.ExtractionTask) -> RemoteTask:
    tower = block.tower
    folder = block.shelf.folder.absolute()
    return RemoteTask(block.view, tower.settings, tower.fingerprint, tower.batch, folder, block.asked)
