"""Checkpoints of a run: copied to the CPU at once, written by a thread, so rarely that they cost next to nothing."""

import copy
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigid.core.cache import cache_errors
from aigid.core.errors import InputError
from aigid.core.files import atomic_write

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
    """Return a checkpoint, its tensors on the CPU; InputError where the file is none."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of bytes that are none it raises anything, some of it without a word
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: no whole checkpoint ({reason}); without it, training starts again") from None
    return state


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
            torch.save(state, file)  # by its name, torch would report a full disk as a bug of its own
        return self._clock() - begun

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown()
