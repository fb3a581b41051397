"""Where images are worked on: here, or by a pool of actors on a Ray cluster. What comes of it is the same.

Ray replaces an actor that dies; its rows are done again. It is imported when it is wanted.

``$RAY_ADDRESS`` names the cluster, else one is started on this machine. ``$AIGID_RAY_ACTORS``, ``$AIGID_RAY_GPUS`` and
``$AIGID_RAY_CPUS`` (of each actor, fractions allowed) shape the pool.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from aigid.core.errors import InputError

CONNECTION_ERRORS = re.compile(rf"{InputError.__name__}: (.+)")
TIMEOUT = 10  # seconds for an address to answer
FORWARDED_ENV = ("AIGID_BATCH", "AIGID_CACHE", "AIGID_DEVICE", "AIGID_ROWS")  # variables that hold for the workers too


@dataclass(frozen=True)
class ResourcePool:
    """So many actors, with so much of a machine each."""

    actors: int
    cpus: float
    gpus: float


def choose(name: str, local: Callable[..., Any], on_ray: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of the engine ``local`` or ``ray``; InputError for another one, or where Ray is missing."""
    engines = {"local": local, "ray": on_ray}
    if name not in engines:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(engines)}")
    if name == "ray" and find_spec("ray") is None:
        raise InputError("engine 'ray': not installed; pip install 'aigid[ray]'")
    return engines[name]


def map_batches(actor: type, arguments: tuple, rows: pd.DataFrame, size: int) -> Iterator[dict]:
    """The rows that actors give, in any order, for these rows, ``size`` at a time; ``num`` of each says how many.

    An actor is called with a table and gives one; it is made from the arguments, the version of this package, which
    ``require_alike`` wants, and the threads that it may use. InputError for an address without a cluster, and for what
    an actor refuses.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    with cluster() as pool, _quiet_logging():
        DataContext.get_current().enable_progress_bars = False
        parts = [rows.iloc[start : start + size] for start in range(0, len(rows), size)]
        found = ray.data.from_pandas(parts).map_batches(
            actor,
            batch_size=None,
            batch_format="pandas",
            compute=ActorPoolStrategy(size=pool.actors),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            fn_constructor_args=(*arguments, version("aigid"), max(int(pool.cpus), 1)),
        )
        with tqdm(total=len(rows), unit="image", desc=f"{pool.actors} actors", disable=None) as bar:
            for done in found.iter_rows():
                bar.update(done["num"])
                yield done


def check_same_environment(aigid: str, about: Path | None) -> None:
    """InputError unless this worker has that version of the package, and sees the cache's file ``about``, if any."""
    if version("aigid") != aigid:
        raise InputError(f"{worker_info()}: has aigid {version('aigid')}, this machine {aigid}")
    if about is not None and not about.is_file():
        wanted = "$AIGID_CACHE must be a folder that all share, or $AIGID_ROWS a bucket"
        raise InputError(f"{worker_info()}: does not see {about.parent}; {wanted}")


def worker_info() -> str:
    """This machine, as messages name it."""
    return f"worker {socket.gethostname()}"


@contextmanager
def cluster() -> Iterator[ResourcePool]:
    """The pool that the cluster of ``$RAY_ADDRESS`` allows, or one started on this machine and stopped afterwards."""
    import ray

    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS")
        _require_answer(address)
        os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster started here; 15 starves beside other work
        variables = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
        try:
            ray.init(address, log_to_driver=False, logging_level="error", runtime_env={"env_vars": variables})
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"RAY_ADDRESS={address}: no cluster there: {str(error).splitlines()[0]}") from None
    try:
        yield pool_from_env(ray.cluster_resources())
    finally:
        if ours:
            ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Ray itself tries for minutes to reach a machine where nothing listens."""
    if not address or ":" not in address:
        return
    host, port = address.removeprefix("ray://").rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise InputError(f"RAY_ADDRESS={address}: no cluster there: {error}") from None


def pool_from_env(resources: dict[str, float]) -> ResourcePool:
    """An actor for each GPU, or for each processor where there is none, unless the environment says otherwise."""
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 1)
    share = _number("AIGID_RAY_GPUS", 1 if gpus else 0)
    actors = int(_number("AIGID_RAY_ACTORS", gpus // share if share else cpus))
    return ResourcePool(actors, _number("AIGID_RAY_CPUS", max(cpus // max(actors, 1), 1) if share else 1), share)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1
    if value < 0 or (variable == "AIGID_RAY_ACTORS" and value < 1):
        raise InputError(f"{variable}={text!r}: want a number, not negative, and at least one actor")
    return value


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """What an actor refused, in its own words."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:  # of what was raised there, its text alone has come here
        told = CONNECTION_ERRORS.findall(str(error))
        raise InputError(told[-1] if told else f"ray: {str(error).splitlines()[0]}") from None
