"""Execution on this machine or by a pool of actors on a Ray cluster, with identical results.

Ray restarts dead actors; their rows are recomputed. It is imported only when it is used.

``$RAY_ADDRESS`` names the cluster, else one is started on this machine. ``$AIGID_RAY_ACTORS``, ``$AIGID_RAY_GPUS`` and
``$AIGID_RAY_CPUS`` (of each actor, fractions allowed) shape the pool.
"""

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from aigid.core.errors import InputError, reason, require_package

INPUT_ERRORS = re.compile(rf"{InputError.__name__}: (.+)")
LOOPBACK = "127.0.0.1"  # where a cluster that is started here listens; for another, start it and set RAY_ADDRESS
TIMEOUT = 10  # seconds for an address to answer
FORWARDED_ENV = ("AIGID_BATCH", "AIGID_CACHE", "AIGID_DEVICE", "AIGID_ROWS")  # variables that hold for the workers too


@dataclass(frozen=True)
class ResourcePool:
    """The number of actors, and the processors and GPUs of each."""

    actors: int
    cpus: float
    gpus: float


def choose(name: str, local: Callable[..., Any], on_ray: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of the engine ``local`` or ``ray``; InputError for another one, or where Ray is missing."""
    engines = {"local": local, "ray": on_ray}
    if name not in engines:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(engines)}")
    if name == "ray":
        require_package("ray", "engine 'ray'")
    return engines[name]


def map_batches(actor: type, arguments: tuple[Any, ...], rows: pd.DataFrame, size: int) -> Iterator[dict[str, Any]]:
    """Yield the rows that actors return, in any order, for ``rows``, ``size`` at a time.

    An actor is called with a table and returns one, whose column ``num`` counts the rows that are done; it is built
    from the arguments, the version of this package, for ``check_same_environment``, and the threads that it may use.
    InputError for an address without a cluster, and for an InputError of an actor.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    with cluster() as pool, _raise_input_errors():
        DataContext.get_current().enable_progress_bars = False
        parts = [rows.iloc[start : start + size] for start in range(0, len(rows), size)]
        results = ray.data.from_pandas(parts).map_batches(
            actor,
            batch_size=None,
            batch_format="pandas",
            compute=ActorPoolStrategy(size=pool.actors),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            fn_constructor_args=(*arguments, version("aigid"), max(int(pool.cpus), 1)),
        )
        with tqdm(total=len(rows), unit="image", desc=f"{pool.actors} actors", disable=None) as bar:
            for result in results.iter_rows():
                bar.update(result["num"])
                yield result


def check_same_environment(aigid: str, metadata_file: Path | None) -> None:
    """Raise InputError unless the worker has that version of the package, and sees the cache's file, if any."""
    if version("aigid") != aigid:
        raise InputError(f"{worker_info()}: has aigid {version('aigid')}, this machine {aigid}")
    if metadata_file is not None and not metadata_file.is_file():
        remedy = "$AIGID_CACHE must be a folder that all share, or $AIGID_ROWS a bucket"
        raise InputError(f"{worker_info()}: does not see {metadata_file.parent}; {remedy}")


def worker_info() -> str:
    """Return the name of the machine in messages."""
    return f"worker {socket.gethostname()}"


@contextmanager
def cluster() -> Iterator[ResourcePool]:
    """Give the pool of the cluster of ``$RAY_ADDRESS``, or of one that is started here and stopped afterwards."""
    import ray

    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS")
        _require_answer(address)
        os.environ.setdefault("RAY_worker_niceness", "0")  # of a cluster started here; 15 starves beside other work
        variables = {name: os.environ[name] for name in FORWARDED_ENV if name in os.environ}
        local: dict[str, Any] = {} if address else {"_node_ip_address": LOOPBACK, "include_dashboard": False}
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": variables},
                **local,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"RAY_ADDRESS={address}: no cluster there: {reason(error)}") from None
    try:
        yield pool_from_env(ray.cluster_resources())
    finally:
        if ours:
            ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Raise InputError where nothing listens: Ray itself tries for minutes."""
    if not address or ":" not in address:
        return
    host, port = address.removeprefix("ray://").rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise InputError(f"RAY_ADDRESS={address}: no cluster there: {error}") from None


def pool_from_env(resources: dict[str, float]) -> ResourcePool:
    """Return an actor for each GPU, else for each processor, unless the environment says otherwise."""
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
def _raise_input_errors() -> Iterator[None]:
    """Turn an error of Ray into InputError, with the message of the actor's InputError if it is one."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:  # only the text of the actor's error arrives here
        messages = INPUT_ERRORS.findall(str(error))
        raise InputError(messages[-1] if messages else f"ray: {reason(error)}") from None
