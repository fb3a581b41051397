"""The engine on a Ray cluster: paths travel to a pool of actors, embeddings go straight into the shared row cache.

An actor decodes what it encodes, and writes shards of its own. Ray replaces one that dies; its open shard is computed
again. ``$RAY_ADDRESS`` names the cluster, else one is started on this machine. ``$AIGID_RAY_ACTORS``,
``$AIGID_RAY_GPUS`` and ``$AIGID_RAY_CPUS`` (of each actor, fractions allowed) shape the pool.
"""

import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from ray.data import ActorPoolStrategy, DataContext
from tqdm import tqdm

from aigid.device import choose_device
from aigid.errors import InputError
from aigid.features import cache, engine
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import Backbone
from aigid.features.reader import Reader, Sample
from aigid.files import device_name
from aigid.remote import Place

ROWS = 1024  # images of a shard: what an actor that dies takes with it
REFUSED = re.compile(rf"{InputError.__name__}: (.+)")
PATIENCE = 10  # seconds for an address to answer
SHARED = ("AIGID_BATCH", "AIGID_CACHE", "AIGID_DEVICE")  # variables that hold for the workers too


@dataclass(frozen=True)
class Task:
    """What an actor must know of a block to fill it."""

    view: str
    settings: BackboneSettings
    fingerprint: str
    batch: int
    folder: Path  # of the shelf, seen alike by all machines
    asked: bool


@dataclass(frozen=True)
class Pool:
    """So many actors, with so much of a machine each."""

    actors: int
    cpus: float
    gpus: float


class Filler:
    """An actor: loads the towers when the first rows come, and fills the shelves with what is missing of them."""

    def __init__(self, tasks: list[Task], root: Place, seed: int, aigid: str, workers: int) -> None:
        self.tasks, self.reader, self.aigid, self.workers = tasks, Reader(root, seed), aigid, workers
        self._towers: dict[str, Backbone] = {}

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows ``place, path, key, missing`` to one row ``num, failed``, what failed being JSON."""
        missing = np.unpackbits(np.stack(rows["missing"].map(lambda bits: np.frombuffer(bits, np.uint8))), axis=1)
        blocks = [
            engine.Block(task.view, self._tower(task), cache.Shelf(task.folder), missing[:, number] == 1, task.asked)
            for number, task in enumerate(self.tasks)
        ]
        key = rows["key"].to_numpy().astype(cache.KEY)
        failed = engine.run(blocks, self.reader, rows["path"].tolist(), key, self.workers)
        told = [[int(rows["place"].iloc[it.place]), it.path, it.sha256, it.status, it.message] for it in failed]
        return pd.DataFrame({"num": [len(rows)], "failed": [json.dumps(told)]})

    def _tower(self, task: Task) -> Backbone:
        """The tower, once it is sure that its rows will be those of everybody else, and will arrive."""
        if task.fingerprint not in self._towers:
            where = f"worker {socket.gethostname()}"
            if version("aigid") != self.aigid:
                raise InputError(f"{where}: has aigid {version('aigid')}, this machine {self.aigid}")
            if not (task.folder / cache.ABOUT).is_file():
                raise InputError(f"{where}: does not see {task.folder}; $AIGID_CACHE must be a folder that all share")
            tower = Backbone(task.settings, choose_device(device_name()), task.batch)
            if tower.fingerprint != task.fingerprint:
                raise InputError(f"{where}: its weights of {task.settings.model} are not those of this machine")
            self._towers[task.fingerprint] = tower
        return self._towers[task.fingerprint]


def run(
    blocks: Sequence[engine.Block], reader: Reader, paths: list[str], key: np.ndarray, workers: int
) -> list[Sample]:
    """As `aigid.features.engine.run`, by actors; ``workers`` does not count, as each has the processors it asks for.

    InputError for an address without a cluster, workers of another version or other weights, a cache that they do not
    see.
    """
    blocks = [block for block in blocks if block.missing.any()]
    if not blocks:
        return []
    rows = missing_rows(blocks, paths, key)
    tasks = [_task(block) for block in blocks]
    with cluster() as pool, _plainly():
        DataContext.get_current().enable_progress_bars = False
        shards = [rows.iloc[start : start + ROWS] for start in range(0, len(rows), ROWS)]
        found = ray.data.from_pandas(shards).map_batches(
            Filler,
            batch_size=None,
            batch_format="pandas",
            compute=ActorPoolStrategy(size=pool.actors),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            fn_constructor_args=(tasks, reader.root.absolute(), reader.seed, version("aigid"), max(int(pool.cpus), 1)),
        )
        failed = []
        with tqdm(total=len(rows), unit="image", desc=f"{pool.actors} actors", disable=None) as bar:
            for done in found.iter_rows():
                bar.update(done["num"])
                failed += [Sample(*told) for told in json.loads(done["failed"])]
    return sorted(failed, key=lambda sample: sample.place)


def missing_rows(blocks: Sequence[engine.Block], paths: list[str], key: np.ndarray) -> pd.DataFrame:
    """``place, path, key, missing`` of the images that any block lacks; ``missing`` has a bit for each block."""
    bits = np.stack([block.missing for block in blocks], axis=1)
    places = np.flatnonzero(bits.any(axis=1))
    packed = [row.tobytes() for row in np.packbits(bits[places], axis=1)]
    named = {"path": [paths[place] for place in places], "key": key[places].astype(str)}
    return pd.DataFrame({"place": places, **named, "missing": packed})


@contextmanager
def cluster() -> Iterator[Pool]:
    """The pool that the cluster of ``$RAY_ADDRESS`` allows, or one started on this machine and stopped afterwards."""
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS")
        _require_answer(address)
        variables = {name: os.environ[name] for name in SHARED if name in os.environ}
        try:
            ray.init(address, log_to_driver=False, logging_level="error", runtime_env={"env_vars": variables})
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"RAY_ADDRESS={address}: no cluster there: {str(error).splitlines()[0]}") from None
    try:
        yield pool_of(ray.cluster_resources())
    finally:
        if ours:
            ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Ray itself tries for minutes to reach a machine where nothing listens."""
    if not address or ":" not in address:
        return
    host, port = address.removeprefix("ray://").rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError) as error:
        raise InputError(f"RAY_ADDRESS={address}: no cluster there: {error}") from None


def pool_of(resources: dict[str, float]) -> Pool:
    """An actor for each GPU, or for each processor where there is none, unless the environment says otherwise."""
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 1)
    share = _number("AIGID_RAY_GPUS", 1 if gpus else 0)
    actors = int(_number("AIGID_RAY_ACTORS", gpus // share if share else cpus))
    return Pool(actors, _number("AIGID_RAY_CPUS", max(cpus // max(actors, 1), 1) if share else 1), share)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1
    if value < 0 or (variable == "AIGID_RAY_ACTORS" and value < 1):
        raise InputError(f"{variable}={text!r}: want a number, not negative, and at least one actor")
    return value


def _task(block: engine.Block) -> Task:
    tower = block.tower
    folder = block.shelf.folder.absolute()
    return Task(block.view, tower.settings, tower.fingerprint, tower.batch, folder, block.asked)


@contextmanager
def _plainly() -> Iterator[None]:
    """What an actor refused, in its own words."""
    try:
        yield
    except ray.exceptions.RayError as error:  # of what was raised there, its text alone has come here
        told = REFUSED.findall(str(error))
        raise InputError(told[-1] if told else f"ray: {str(error).splitlines()[0]}") from None
