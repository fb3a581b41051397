"""Atomic writes, and the folders and machine settings of the environment."""

import hashlib
import json
import os
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aigid.core.errors import InputError, full_disk_errors, reason
from aigid.core.folders import temporaries, temporary_path
from aigid.core.paths import AnyPath, as_path, is_remote

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")
STALE_SECONDS = 86400  # seconds after which no one writes to a temporary file any more


@contextmanager
def atomic_write(path: Path | str, temporary_folder: Path | None = None) -> Iterator[Path]:
    """Give a temporary path that replaces ``path`` at the end, and is deleted if the block fails.

    It lies in the same folder or in a ``temporary_folder`` of the same disk; its mode is 0666 less the umask.
    """
    path = Path(path)
    near = (temporary_folder or path.parent) / path.stem
    with full_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        near.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(temporaries(near, path.suffix))
        part = create_temporary(near, path.suffix)
        mode = part.lstat().st_mode & 0o777
        try:
            yield part
            if not part.is_symlink():  # a library may have put a file of its own there
                part.chmod(mode)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def create_temporary(near: Path, suffix: str) -> Path:
    """Create an empty file of a new name beside ``near``."""
    part = temporary_path(near, suffix)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return part


def remove_stale(parts: Iterable[Path]) -> None:
    """Delete temporary files older than ``STALE_SECONDS``, left behind by killed writers."""
    for part in parts:
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime > STALE_SECONDS:
                part.unlink()


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path | str) -> str:
    """Return the hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dataset_root(dataset: str) -> AnyPath:
    """Return the folder of a dataset: ``$AIGID_DATA/<dataset>`` if there is one, else ``data/images/<dataset>``."""
    if root := next((root for root in _roots(dataset) if root.is_dir()), None):
        return root
    hint = "" if os.environ.get("AIGID_DATA") else "; set AIGID_DATA to the folder that holds your datasets"
    raise InputError(f"dataset {dataset!r}: no folder {' or '.join(map(str, _roots(dataset)))}{hint}")


def is_pipeline_output(dataset: str) -> bool:
    """Return whether a dataset's images lie in ``data/images``, where the pipeline itself generates them."""
    *elsewhere, generated = _roots(dataset)
    return generated.is_dir() and not any(root.is_dir() for root in elsewhere)


def _roots(dataset: str) -> list[AnyPath]:
    data = os.environ.get("AIGID_DATA")
    return [*([as_path(data) / dataset] if data else []), Path("data/images", dataset)]


def cache_folder() -> Path:
    """Return the cache of costly results, ``$AIGID_CACHE``, else ``~/.cache/aigid``."""
    folder = os.environ.get("AIGID_CACHE") or "~/.cache/aigid"
    if is_remote(folder):
        raise InputError(f"AIGID_CACHE={folder}: want a folder; an address may be AIGID_ROWS")
    return Path(folder).expanduser()


def num_workers() -> int:
    """Return how many threads or processes decode: ``$AIGID_WORKERS``, else the cores that the process may use.

    Processes that ``torchrun`` started on one machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _positive_int("AIGID_WORKERS", max((cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1))


def max_pixels(default: int) -> int:
    """Return the pixels above which no image is decoded, ``$AIGID_MAX_PIXELS``."""
    return _positive_int("AIGID_MAX_PIXELS", default)


def num_processes() -> int:
    """Return the processes that share a training, ``$AIGID_PROCESSES``, else one."""
    return _positive_int("AIGID_PROCESSES", 1)


def map_in_threads(
    function: Callable[[T], R], items: Sequence[T], batch: int = 64, workers: int | None = None
) -> Iterator[R]:
    """Yield ``function`` of each item in order; a thread, one a core or of ``workers``, takes ``batch`` at once."""
    batches = [items[start : start + batch] for start in range(0, len(items), batch)]
    done = map_ahead(
        lambda part: [function(item) for item in part], batches, workers or num_workers(), len(batches) + 1
    )
    return chain.from_iterable(done)


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], workers: int, ahead: int | Callable[[], int]
) -> Generator[R]:
    """Yield ``function`` of each item in order; threads are at most ``ahead`` items ahead of the caller."""
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            while len(pending) >= (ahead if isinstance(ahead, int) else ahead()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def batch_size() -> int | None:
    """Return the images at once, ``$AIGID_BATCH``, or None, which leaves it to the network and its device."""
    return _positive_int("AIGID_BATCH", 0) if "AIGID_BATCH" in os.environ else None


def device_name() -> str:
    """Return ``$AIGID_DEVICE`` (``cpu``, ``cuda``, ``cuda:1``, ``mps``), else ``auto``."""
    return os.environ.get("AIGID_DEVICE", "auto")


def choose_device(name: str) -> "torch.device":
    """Return the torch device of that name; ``auto`` takes CUDA, then Apple's MPS, then the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"AIGID_DEVICE={name!r}: {reason(error)}") from None
    return device


def engine_from_env() -> str:
    """Return ``$AIGID_ENGINE``, ``local`` or ``ray``."""
    return os.environ.get("AIGID_ENGINE", "local")


def _positive_int(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{variable}={text!r}: want a whole number of at least 1")
    return int(text)


def check_free_space(bytes_by_path: dict[Path, int]) -> None:
    """Raise InputError, before anything is computed, naming the folders of a disk with too few free bytes.

    ``bytes_by_path``: folder -> bytes that will be written there. A folder need not exist yet.
    """
    disks: dict[int, list[Path]] = defaultdict(list)
    for folder in bytes_by_path:
        disks[_existing_parent(folder).stat().st_dev].append(folder)
    for folders in disks.values():
        needed = sum(bytes_by_path[folder] for folder in folders)
        free = shutil.disk_usage(_existing_parent(folders[0])).free
        if needed > free:
            names = " and ".join(map(str, folders))
            raise InputError(f"{names}: {format_bytes(needed)} are needed there, {format_bytes(free)} are free")


def format_bytes(num_bytes: int) -> str:
    """Format a size such as ``3.2 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def _existing_parent(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
