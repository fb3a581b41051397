"""Reader -> encoder -> writer: images are decoded once, and every tower and view that lacks them is served."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter

import numpy as np
import torch
from tqdm import tqdm

from aigid.core import cache
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.features import row_cache
from aigid.features.encoder import Backbone
from aigid.features.reader import DecodedImage, Reader, ReadRequest, ViewSpec

PREFETCH_BYTES = 2**28  # of squares that wait for the encoder
CPU_STREAMS = 4  # batches that a CPU encodes side by side
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExtractionTask:
    """One tower in one view, and which of the manifest's rows it lacks.

    Where ``asked`` is false, nobody waits for it: it is served because the images are decoded anyway.
    """

    view: str
    tower: Backbone
    shelf: cache.CacheEntry
    missing: np.ndarray  # (N,) bool
    asked: bool = True

    @property
    def input(self) -> ViewSpec:
        """What it wants to see of an image."""
        settings = self.tower.settings
        return ViewSpec(self.view, settings.preprocess, settings.decode)


@dataclass
class StageTimer:
    """Seconds that the loop spent waiting for each part."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("reader", "encoder", "writer"), 0.0))

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the block's time."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += perf_counter() - start

    def __str__(self) -> str:
        total = max(sum(self.seconds.values()), 1e-9)
        return "waits for " + ", ".join(f"{part} {spent / total:.0%}" for part, spent in self.seconds.items())


Encode = Callable[[Backbone, np.ndarray], Callable[[], np.ndarray]]


@dataclass(frozen=True)
class InFlightTask:
    """A block's embeddings of some samples, on their way."""

    block: ExtractionTask
    writer: row_cache.RowWriter
    samples: list[DecodedImage]
    embedded: Callable[[], np.ndarray]


def run(
    blocks: Sequence[ExtractionTask], reader: Reader, paths: list[str], key: np.ndarray, workers: int
) -> list[DecodedImage]:
    """Compute and cache what the blocks lack; the samples that failed, without their squares.

    InputError where an embedding does not fit into its dtype; but a block that nobody asked for is then given up.
    Interrupted, it keeps what is finished, and says so.
    """
    blocks = [block for block in blocks if block.missing.any()]
    if not blocks:
        return []
    places = np.flatnonzero(np.any([block.missing for block in blocks], axis=0))
    lanes = min(workers, CPU_STREAMS)
    step = max(block.tower.batch * (lanes if block.tower.device.type == "cpu" else 1) for block in blocks)
    num_bytes = sum(wanted.num_bytes for wanted in {block.input for block in blocks})
    ahead = max(min(4 * step, PREFETCH_BYTES // num_bytes), workers)
    samples = reader.samples(_requests(blocks, places, paths, key), workers, ahead)
    failed, done = [], 0
    try:
        with (
            tqdm(total=len(places), unit="image", disable=None) as bar,
            closing(samples),
            _encoding(lanes, max(workers // lanes, 1)) as encode,
            closing(_loop(blocks, samples, step, encode, bar)) as rounds,
        ):
            for found in rounds:
                failed += [replace(sample, squares={}) for sample in found if sample.status != OK]
                done += len(found)
    except KeyboardInterrupt:
        told = f"stopped: about {done} of {len(places)} images are in the cache; the same call goes on from there"
        raise KeyboardInterrupt(told) from None
    return failed


@contextmanager
def _encoding(lanes: int, threads: int) -> Iterator[Encode]:
    """A tower and squares to what waits for their embeddings: on a CPU ``lanes`` batches at once, of ``threads`` each.

    A small tower's products are too small to be shared by threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    pool = ThreadPoolExecutor(lanes)
    try:
        yield (
            lambda tower, squares: (
                pool.submit(tower.encode, squares).result if tower.device.type == "cpu" else tower.submit(squares)
            )
        )
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _loop(
    blocks: list[ExtractionTask], samples: Iterator[DecodedImage], step: int, encode: Encode, bar: tqdm
) -> Iterator[list[DecodedImage]]:
    """The samples, ``step`` at a time, when they are on their way; one round is encoded while the next is read."""
    waiting, given_up, underway = StageTimer(), set(), deque()
    with ExitStack() as stack:
        writers = [stack.enter_context(row_cache.RowWriter(block.shelf, block.tower.computes_on)) for block in blocks]
        while True:
            with waiting.on("reader"):
                found = list(islice(samples, step))
            before = len(underway)
            for block, writer in zip(blocks, writers, strict=True):
                good = [sample for sample in found if sample.status == OK and block.missing[sample.place]]
                for message in filter(None, (sample.refused.get(block.input) for sample in good)):
                    _fail(block, message, given_up)
                for part in [] if block in given_up else _parts(good, block.tower.batch):
                    with waiting.on("encoder"):
                        squares = np.stack([sample.squares[block.input] for sample in part])
                        underway.append(InFlightTask(block, writer, part, encode(block.tower, squares)))
            for _ in range(before):
                _finish(underway.popleft(), waiting, given_up)
            if not found:
                return
            bar.set_postfix_str(str(waiting), refresh=False)
            bar.update(len(found))
            yield found


def _parts(samples: list[DecodedImage], size: int) -> Iterator[list[DecodedImage]]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


def _requests(
    blocks: list[ExtractionTask], places: np.ndarray, paths: list[str], key: np.ndarray
) -> Iterator[ReadRequest]:
    for place in places.tolist():
        wanted = dict.fromkeys(block.input for block in blocks if block.missing[place])
        yield ReadRequest(place, paths[place], key[place].decode(), tuple(wanted))


def _finish(job: InFlightTask, waiting: StageTimer, given_up: set[ExtractionTask]) -> None:
    """Wait for a job, and hand its rows to the writer."""
    block = job.block
    with waiting.on("encoder"):
        embedded = job.embedded()
    dtype, largest = block.tower.settings.dtype, np.abs(embedded).max()
    if not largest <= np.finfo(dtype).max:
        _fail(block, f"view {block.view}: an embedding reaches {largest:g}, more than {dtype} holds", given_up)
        return
    with waiting.on("writer"):
        for sample, row in zip(job.samples, embedded.astype(dtype), strict=True):
            job.writer.add(sample.sha256.encode(), row)


def _fail(block: ExtractionTask, message: str, given_up: set[ExtractionTask]) -> None:
    """InputError; or one line, where nobody waits for the block."""
    if block.asked:
        raise InputError(message)
    if block not in given_up:
        LOG.warning("%s is not computed alongside: %s", block.tower.settings.model, message)
        given_up.add(block)
