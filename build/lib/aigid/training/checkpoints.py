"""Checkpoints of a run: copied to the CPU at once, written by a thread, so rarely that they cost next to nothing."""

import copy
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from aigid.core.cache import cache_errors, logger, quarantine
from aigid.core.errors import InputError
from aigid.core.files import atomic_write

DIGEST_MARK = b"aigid sha256 "  # before the digest at the end of a checkpoint
MIN_SECONDS = 30.0  # between checkpoints, and before the first
MAX_SHARE = 0.02  # of the time since the last one that a checkpoint may cost


def refuse_other_definitions(file: object, before: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Raise InputError where what a training's policies and views are has changed since it wrote ``file``.

    It would go on with other images. What all settings are is part of a checkpoint's name, this is not: a change of
    the code is refused by name, a change of the settings is another training.
    """
    before, now = json.loads(json.dumps(before)), json.loads(json.dumps(now))
    if changed := sorted(name for name in {**before, **now} if before.get(name) != now.get(name)):
        names = ", ".join(name for name in changed if name != "revision") or "its operators"
        raise InputError(f"{file}: from training under an older definition of {names}; remove it, to train anew")


def snapshot(state: Any) -> Any:
    """Return a copy on the CPU that does not change when training goes on."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(snapshot, state))
    return copy.deepcopy(state)


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint, its tensors on the CPU; InputError where the file is none, or not as it was written."""
    try:
        _check_digest(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of bytes that are none it raises anything, some of it without a word
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: no whole checkpoint ({reason}); without it, training starts again") from None
    return state


def load_or_quarantine(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint, or None where there is none; a damaged one is set aside, so that training starts again."""
    if not path.exists():
        return None
    try:
        return load(path)
    except InputError as error:
        logger.warning("%s", error)
        quarantine(path)
        return None


def _check_digest(path: Path) -> None:
    """Raise ValueError unless the file's end is the sha256 of all before it; one of an earlier version has none."""
    size, end = path.stat().st_size, len(DIGEST_MARK) + 32
    with path.open("rb") as file:
        file.seek(max(size - end, 0))
        mark, expected = file.read(len(DIGEST_MARK)), file.read()
        if mark != DIGEST_MARK:
            return
        file.seek(0)
        digest, left = hashlib.sha256(), size - end
        while left:
            digest.update(block := file.read(min(left, 2**20)))
            left -= len(block)
    if digest.digest() != expected:
        raise ValueError("its bytes have changed")


class HashingFile:
    """Passes on what is written, and hashes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


class CheckpointWriter:
    """Writes the checkpoints of a run to ``path``: a kill loses the steps since the last one that is complete.

    One is due after ``MIN_SECONDS``, or when the time since the last is so long that to copy and write one is
    ``MAX_SHARE`` of it, by what the last one took.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock, self._begun, self._cost = path, clock, clock(), 0.0
        self._pool, self._writing = ThreadPoolExecutor(1), Future[float]()
        self._writing.set_result(0.0)

    def require_writable(self) -> None:
        """Raise InputError, before anything is computed, where no checkpoint could be written."""
        with cache_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass

    def due(self) -> bool:
        """Return whether it is time for the next one; InputError where the last could not be written."""
        if not self._writing.done():
            return False
        self._cost = self._writing.result()
        return self._clock() - self._begun >= max(MIN_SECONDS, self._cost / MAX_SHARE)

    def save(self, state: Mapping[str, Any], wait: bool = False) -> None:
        """Copy the state, and have it written; with ``wait``, return when the file is complete."""
        self._writing.result()
        self._begun = self._clock()
        self._writing = self._pool.submit(self._write, snapshot(state), self._begun)
        if wait:
            self._writing.result()

    def _write(self, state: dict[str, Any], begun: float) -> float:
        """Return the seconds since ``begun``."""
        with cache_errors(), atomic_write(self.path) as part, part.open("wb") as file:
            hashing = HashingFile(file)  # by its name, torch would report a full disk as a bug of its own
            torch.save(state, cast(IO[bytes], hashing))
            file.write(DIGEST_MARK + hashing.digest.digest())
        return self._clock() - begun

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()
