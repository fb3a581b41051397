"""Ctrl-C in the middle of a training."""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from aigid.core.files import cache_folder
from aigid.training.trainer import TrainConfig, Trainer, TrainTask


@contextmanager
def defer_interrupts() -> Iterator[list[int]]:
    """Ctrl-C is noted instead of raised, until the step is done and can be saved; a second one is raised."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


# One resumable training loop, for every network that learns from images.
#
# A run that was killed goes on from its last checkpoint, to the same weights on a CPU: all randomness of a step comes
# from the run's name, the seed, the epoch and the step, so that a checkpoint holds none. Within
# `aigid.detectors.training.parallel.processes`, every process takes its share of each batch.

CHECKPOINT_SECONDS = 30.0  # between checkpoints
FORMAT = 2  # of a checkpoint


def checkpoint_path(about: object) -> Path:
    """Where a run keeps its checkpoint, outside the workspace; ``about`` holds all that decides the run."""
    name = hashlib.sha256(json.dumps([FORMAT, torch.__version__, about]).encode()).hexdigest()[:32]
    return cache_folder() / "training" / f"{name}.pt"


def train(plan: TrainConfig, learner: TrainTask, path: Path, seconds: float | None = None) -> list[dict[str, float]]:
    """Train to the end, whatever came between; the log, a row an epoch.

    The row has ``epoch``, ``learning_rate``, ``train_loss``, a ``train_<term>`` for each of several terms, and what the
    judge says. The net ends with the best epoch's weights. The checkpoint stays, so that asking again costs nothing:
    unlink ``path`` when what comes of the run is safe. InputError where loss or gradient is no number.
    """
    run = Trainer(plan, learner, path)
    now, saved = run.progress, time.monotonic()
    with defer_interrupts() as asked:
        while now.epoch < plan.epochs:
            for here, passes in run.steps():
                run.step(here, passes)
                now.step = here.step + 1
                if asked or time.monotonic() - saved >= (CHECKPOINT_SECONDS if seconds is None else seconds):
                    run.save()
                    saved = time.monotonic()
                if asked:
                    raise KeyboardInterrupt(f"{plan.name}: stopped and saved; the same command goes on from here")
            run.close_epoch()
            run.save()
            saved = time.monotonic()
    if now.best is not None:
        run.load_weights(now.best)
    return now.log
