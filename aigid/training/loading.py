"""Items of the next steps, read by a pool of processes while this step is computed."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.fft  # noqa: F401  # in half a second, which each process that degrades would spend again
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.training import distributed

if TYPE_CHECKING:
    from aigid.training.task import TrainConfig, TrainTask

STEPS_AHEAD = 3
MAX_BYTES = 1 << 30  # of validation items that stay in memory, as they are the same after every epoch
Indices = NDArray[np.int64]
Batch = Any  # a tuple of tensors (n, ...), or of arrays as they are read; None stands for a field that nobody needs


class Request(NamedTuple):
    """What a process reads at once: ``items`` as ``epoch`` shows them, or of validation, where ``epoch`` is None."""

    epoch: int | None
    items: Indices


class _Failure(NamedTuple):
    message: str


class _Dataset(Dataset[Batch]):
    def __init__(self, read: Callable[[Request], Batch]) -> None:
        self.read = read

    def __getitem__(self, request: Request) -> Batch:
        try:
            return self.read(request)
        except InputError as error:  # which DataLoader would raise with the process's traceback in its message
            return _Failure(str(error))


def num_processes() -> int:
    """Return how many processes read: ``$AIGID_WORKERS``, or none where a process that has threads cannot be forked.

    A fork inherits what was loaded, within milliseconds, where a new interpreter would import torch for seconds. It is
    safe as the child uses a single thread and no CUDA.
    """
    return num_workers() if sys.platform == "linux" else 0


def read_ahead(
    read: Callable[[Request], Batch], requests: Iterable[Request], num_blocks: int, name: str, yielding: bool = False
) -> Generator[Batch]:
    """Yield what ``read`` gives of each request, in order, as tensors; InputError from ``read`` is raised here.

    A step has ``num_blocks`` requests: all processes work on it at once, ``STEPS_AHEAD`` steps ahead of the caller,
    or further where a step has fewer requests than there are processes. With ``yielding`` they take what cores the
    caller leaves: where it computes there, one of its threads that waits for a core holds up all of them.
    """
    workers = num_processes()
    pool: dict[str, Any] = {}
    if workers:
        ahead = max(-(-STEPS_AHEAD * num_blocks // workers), 2)
        pool = {
            "prefetch_factor": ahead,
            "multiprocessing_context": "fork",
            "worker_init_fn": partial(_start_worker, 19 if yielding else 5),
        }
    with warnings.catch_warnings():  # of more processes than cores, as suits images in a bucket
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader = DataLoader(
            _Dataset(read), batch_size=None, sampler=requests, num_workers=workers, generator=torch.Generator(), **pool
        )
        batches: Any = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, _Failure):
                raise InputError(batch.message)
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):  # but what ``read`` raised
            raise
        reason = f"a process that reads images has died ({str(error).splitlines()[0]})"
        raise InputError(f"{name}: {reason}; fewer of them, AIGID_WORKERS={workers // 2 or 1}, need less") from None
    finally:
        if workers:  # now, though an error's traceback still holds them: at exit they would ignore being terminated
            batches._shutdown_workers()


def _start_worker(niceness: int, _: int) -> None:
    """Leave signals to the parent, which saves first and then ends its workers; give way to its computing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.environ["AIGID_WORKERS"] = "1"
    os.nice(niceness)


class RunLoader:
    """The batches of a run's steps and the blocks of its validation, which must be taken in the order of the run.

    ``share`` are the positions in a step of this process's items, ``start`` the epoch and step to begin with.
    """

    def __init__(self, config: "TrainConfig", task: "TrainTask", share: Indices, start: tuple[int, int]) -> None:
        self.config, self.task, self.share, self.start = config, task, share, start
        self.pin = next(task.net.parameters()).device.type == "cuda"
        self._num_blocks = min(num_processes() or 1, len(share))
        self._blocks = read_ahead(self._read, self._requests(), self._num_blocks, config.name, not self.pin)
        self._validation: list[Batch] = []

    def batch(self) -> Batch:
        """Return this process's items of the next step."""
        return concatenate([next(self._blocks) for _ in range(self._num_blocks)], self.pin)

    def validation_blocks(self) -> Iterator[Batch]:
        """Yield this process's part of validation."""
        if self._validation:
            yield from self._validation
            return
        for _ in self._validation_requests():
            block = concatenate([next(self._blocks)], self.pin)
            self._validation += [block] if self._keeps_validation else []
            yield block

    def close(self) -> None:
        """End the processes that read."""
        self._blocks.close()

    def _read(self, request: Request) -> Batch:
        if request.epoch is not None:
            return self.task.read(request.epoch, request.items)
        assert self.task.validation is not None
        return self.task.validation.read(request.items)

    def _requests(self) -> Iterator[Request]:
        """Yield all that this process still has to read."""
        config, (first_epoch, first) = self.config, self.start
        for epoch in range(first_epoch, config.epochs):
            order = seeding.numpy_generator(f"{config.name} order", config.seed, epoch).permutation(config.num_items)
            for step in range(first, config.num_steps):
                items = order[step * config.batch_size : (step + 1) * config.batch_size][self.share]
                yield from (Request(epoch, block) for block in np.array_split(items, self._num_blocks))
            if epoch == first_epoch or not self._keeps_validation:
                yield from self._validation_requests()
            first = 0

    def _validation_requests(self) -> list[Request]:
        if (validation := self.task.validation) is None or not validation.num_items:
            return []
        share = np.array_split(np.arange(validation.num_items), distributed.world_size())[distributed.rank()]
        num_blocks = -(-len(share) // validation.block) or 1
        return [Request(None, block) for block in np.array_split(share, num_blocks) if len(block)]

    @property
    def _keeps_validation(self) -> bool:
        validation = self.task.validation
        return validation is not None and validation.num_items * validation.item_bytes <= MAX_BYTES


def num_items(batch: Batch) -> int:
    """Return the number of items of a batch."""
    return next(len(field) for field in batch if field is not None)


def select(batch: Batch, part: slice) -> Batch:
    """Return some items of a batch."""
    return _like(batch, [field if field is None else field[part] for field in batch])


def concatenate(blocks: Sequence[Batch], pin: bool) -> Batch:
    """Return all items of several batches in one, in memory from which CUDA copies by itself, if ``pin``."""
    columns = zip(*blocks, strict=True)
    joined = [None if column[0] is None else torch.cat(column) for column in columns]
    return _like(blocks[0], [field.pin_memory() if pin and field is not None else field for field in joined])


def _like(batch: Batch, fields: list[Tensor | None]) -> Batch:
    return batch._make(fields) if hasattr(batch, "_make") else tuple(fields)
