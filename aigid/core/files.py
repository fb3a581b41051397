"""Files written whole or not at all, and the folders and machine settings that the environment names."""

import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aigid.core.errors import InputError
from aigid.core.paths import AnyPath, as_path, is_remote

if TYPE_CHECKING:
    import torch

T, R = TypeVar("T"), TypeVar("R")
STALE_SECONDS = 86400  # seconds after which no one writes to a temporary file any more


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """A temporary path in the same folder that becomes ``path`` when the block ends, and vanishes when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(path.parent, f".{glob.escape(path.stem)}-*{glob.escape(path.suffix)}")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_stale_temporaries(folder: Path, pattern: str) -> None:
    """Remove temporary files that killed writers left behind, once they are so old that none can still be at them."""
    for part in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dataset_root(dataset: str) -> AnyPath:
    """Where the images of a dataset lie: ``$AIGID_DATA/<dataset>`` if there is one, else ``data/images/<dataset>``."""
    roots: list[AnyPath] = [Path("data/images", dataset)]
    if data := os.environ.get("AIGID_DATA"):
        roots.insert(0, as_path(data) / dataset)
    for root in roots:
        if root.is_dir():
            return root
    looked = " or ".join(str(root) for root in roots)
    hint = "" if data else "; set AIGID_DATA to the folder that holds your datasets"
    raise InputError(f"dataset {dataset!r}: no folder {looked}{hint}")


def is_pipeline_output(dataset: str) -> bool:
    """Return whether a dataset's images lie in ``data/images``, where the pipeline itself generates them."""
    data = os.environ.get("AIGID_DATA")
    elsewhere = data is not None and data != "" and (as_path(data) / dataset).is_dir()
    return not elsewhere and Path("data/images", dataset).is_dir()


def cache_folder() -> Path:
    """Where results that are costly to find again are kept between runs: ``$AIGID_CACHE``, else ``~/.cache/aigid``."""
    folder = os.environ.get("AIGID_CACHE") or "~/.cache/aigid"
    if is_remote(folder):
        raise InputError(f"AIGID_CACHE={folder}: want a folder; an address may be AIGID_ROWS")
    return Path(folder).expanduser()


def num_workers() -> int:
    """Threads for decoding: ``$AIGID_WORKERS``, else the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _whole("AIGID_WORKERS", cores or 1)


def map_in_threads(function: Callable[[T], R], items: Sequence[T], batch: int = 64) -> Iterator[R]:
    """Yield ``function`` of each item in order; a thread takes ``batch`` of them at once."""
    batches = [items[start : start + batch] for start in range(0, len(items), batch)]
    with ThreadPoolExecutor(num_workers()) as pool:
        yield from chain.from_iterable(pool.map(lambda part: [function(item) for item in part], batches))


def batch_size() -> int | None:
    """Images per batch: ``$AIGID_BATCH``, or None, which leaves it to the tower and its device."""
    return _whole("AIGID_BATCH", 0) if "AIGID_BATCH" in os.environ else None


def device_name() -> str:
    """``$AIGID_DEVICE`` (``cpu``, ``cuda``, ``cuda:1``, ``mps``), else ``auto``."""
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
        raise InputError(f"AIGID_DEVICE={name!r}: {str(error).splitlines()[0]}") from None
    return device


def engine_from_env() -> str:
    """``$AIGID_ENGINE``: where extractions are computed, ``local`` or ``ray``."""
    return os.environ.get("AIGID_ENGINE", "local")


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{variable}={text!r}: want a whole number of at least 1")
    return int(text)


# Is there room on the disk for what will be written? Asked before anything is computed.


def check_free_space(needs: dict[Path, int]) -> None:
    """InputError that names the folders of a disk whose free bytes are fewer than what is needed there.

    ``needs``: folder -> bytes. A folder need not exist yet.
    """
    disks: dict[int, list[Path]] = defaultdict(list)
    for folder in needs:
        disks[_existing_parent(folder).stat().st_dev].append(folder)
    for folders in disks.values():
        needed, free = sum(needs[folder] for folder in folders), shutil.disk_usage(_existing_parent(folders[0])).free
        if needed > free:
            names = " and ".join(map(str, folders))
            raise InputError(f"{names}: {format_bytes(needed)} are needed there, {format_bytes(free)} are free")


def format_bytes(num_bytes: int) -> str:
    """Such as ``3.2 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def _existing_parent(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
