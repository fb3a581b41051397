"""The extraction loop, reader -> encoder -> writer: images are decoded once for all backbones and views."""

import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from aigid.core.cache import CacheEntry
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.features.backbones import Backbone
from aigid.features.images import Digests, Keys
from aigid.features.preprocess import Pixels
from aigid.features.reader import DecodedImage, Reader, ReadRequest, ViewSpec
from aigid.features.row_cache import RowWriter

PREFETCH_BYTES = 2**28  # of inputs that wait for the encoder
CPU_STREAMS = 4  # batches that a CPU encodes side by side
Encode = Callable[[Backbone, Pixels], Callable[[], NDArray[np.float32]]]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExtractionTask:
    """One backbone in one view, and the manifest's rows that it lacks.

    A task that is not ``requested`` is served because its images are decoded anyway, and given up where it fails.
    """

    view: str
    backbone: Backbone
    entry: CacheEntry
    missing: NDArray[np.bool_]  # (N,)
    requested: bool = True

    @property
    def input(self) -> ViewSpec:
        """The input to read for it."""
        settings = self.backbone.settings
        return ViewSpec(self.view, settings.preprocess, settings.decode)


@dataclass
class StageTimer:
    """Seconds that the loop spent waiting for each stage."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("reader", "encoder", "writer"), 0.0))

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - start

    def __str__(self) -> str:
        total = max(sum(self.seconds.values()), 1e-9)
        return "waits for " + ", ".join(f"{stage} {spent / total:.0%}" for stage, spent in self.seconds.items())


class InFlightTask(NamedTuple):
    """Samples of a task whose embeddings are being computed."""

    task: ExtractionTask
    writer: RowWriter
    samples: list[DecodedImage]
    embeddings: Callable[[], NDArray[np.float32]]


def run(
    tasks: Sequence[ExtractionTask], reader: Reader, paths: Sequence[str], key: Keys | Digests, workers: int
) -> list[DecodedImage]:
    """Compute and cache what the tasks lack; returns the samples that failed, without their inputs.

    InputError where an embedding does not fit into the dtype of a requested task. On an interruption all finished rows
    stay in the cache.
    """
    tasks = [task for task in tasks if task.missing.any()]
    if not tasks:
        return []
    indices = np.flatnonzero(np.any([task.missing for task in tasks], axis=0))
    streams = min(workers, CPU_STREAMS)
    step = max(task.backbone.batch * (streams if task.backbone.threaded else 1) for task in tasks)
    num_bytes = sum(3 * spec.preprocess.size**2 for spec in {task.input for task in tasks})
    prefetch = max(min(4 * step, PREFETCH_BYTES // num_bytes), workers)
    samples = reader.samples(_requests(tasks, indices, paths, key), workers, prefetch)
    failures: list[DecodedImage] = []
    done = 0
    try:
        with (
            tqdm(total=len(indices), unit="image", disable=None) as bar,
            closing(samples),
            _cpu_streams(streams, max(workers // streams, 1)) as encode,
            closing(_loop(tasks, samples, step, encode, bar)) as rounds,
        ):
            for batch in rounds:
                failures += [replace(sample, inputs={}) for sample in batch if sample.status != OK]
                done += len(batch)
    except KeyboardInterrupt:
        message = f"stopped: about {done} of {len(indices)} images are in the cache; the same call goes on from there"
        raise KeyboardInterrupt(message) from None
    return failures


def embed(
    digests: Iterable[str], pixels: Mapping[str, Pixels], backbones: Sequence[Backbone], views: Sequence[str], seed: int
) -> dict[str, NDArray[np.floating]]:
    """Return the embeddings (N, D) by view of images by sha256, as ``run`` computes them, without the row cache."""
    requests = [ReadRequest(index, "", digest, ()) for index, digest in enumerate(digests)]
    reader, rows, workers = Reader(Path(), seed, pixels), {}, num_workers()
    for view in views:
        specs = [ViewSpec(view, backbone.settings.preprocess, backbone.settings.decode) for backbone in backbones]
        todo = (replace(request, view_specs=tuple(dict.fromkeys(specs))) for request in requests)
        samples = list(reader.samples(todo, workers, workers))
        if message := next((message for sample in samples for message in sample.errors.values()), ""):
            raise InputError(message)
        parts = []
        for spec, backbone in zip(specs, backbones, strict=True):
            embeddings = backbone.encode(np.stack([sample.inputs[spec] for sample in samples]))
            parts.append(narrow(embeddings, view, backbone))
        rows[view] = np.concatenate(parts, axis=1)
    return rows


@contextmanager
def _cpu_streams(streams: int, threads: int) -> Iterator[Encode]:
    """Yield a function that starts to encode a batch: on a CPU ``streams`` at once, with ``threads`` each.

    A small network's products are too small to be shared by threads.
    """
    pool = ThreadPoolExecutor(streams)

    def encode(backbone: Backbone, inputs: Pixels) -> Callable[[], NDArray[np.float32]]:
        return pool.submit(backbone.encode, inputs).result if backbone.threaded else backbone.encode_async(inputs)

    with ExitStack() as stack:
        if torch := sys.modules.get("torch"):  # an ONNX backbone needs none
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield encode


def _loop(
    tasks: list[ExtractionTask], samples: Iterator[DecodedImage], step: int, encode: Encode, bar: "tqdm[Any]"
) -> Generator[list[DecodedImage]]:
    """Yield the samples, ``step`` at a time, once submitted; one round is encoded while the next is read."""
    timer, failures = StageTimer(), set[ExtractionTask]()
    in_flight: deque[InFlightTask] = deque()
    with ExitStack() as stack:
        writers = [stack.enter_context(RowWriter(task.entry, task.backbone.device_info)) for task in tasks]
        while True:
            with timer.measure("reader"):
                batch = list(islice(samples, step))
            before = len(in_flight)
            for task, writer in zip(tasks, writers, strict=True):
                ok = [sample for sample in batch if sample.status == OK and task.missing[sample.index]]
                for message in filter(None, (sample.errors.get(task.input) for sample in ok)):
                    _fail(task, message, failures)
                size = task.backbone.batch
                for start in range(0, 0 if task in failures else len(ok), size):
                    part = ok[start : start + size]
                    with timer.measure("encoder"):
                        inputs = np.stack([sample.inputs[task.input] for sample in part])
                        in_flight.append(InFlightTask(task, writer, part, encode(task.backbone, inputs)))
            for _ in range(before):
                _finish(in_flight.popleft(), timer, failures)
            if not batch:
                return
            bar.set_postfix_str(str(timer), refresh=False)
            bar.update(len(batch))
            yield batch


def _requests(
    tasks: list[ExtractionTask], indices: NDArray[np.intp], paths: Sequence[str], key: Keys | Digests
) -> Iterator[ReadRequest]:
    for index in indices.tolist():
        specs = dict.fromkeys(task.input for task in tasks if task.missing[index])
        yield ReadRequest(index, paths[index], key[index].decode(), tuple(specs))


def _finish(job: InFlightTask, timer: StageTimer, failures: set[ExtractionTask]) -> None:
    """Wait for embeddings and write them."""
    task = job.task
    with timer.measure("encoder"):
        embeddings = job.embeddings()
    try:
        rows = narrow(embeddings, task.view, task.backbone)
    except InputError as error:
        return _fail(task, str(error), failures)
    with timer.measure("writer"):
        for sample, row in zip(job.samples, rows, strict=True):
            job.writer.add(sample.sha256.encode(), row)
    return None


def narrow(embeddings: NDArray[np.float32], view: str, backbone: Backbone) -> NDArray[np.floating]:
    """Return embeddings (n, D) in the dtype of their backbone; InputError where one does not fit."""
    dtype, largest = backbone.settings.dtype, np.abs(embeddings).max()
    if not largest <= np.finfo(dtype).max:
        raise InputError(f"view {view}: an embedding reaches {largest:g}, more than {dtype} holds")
    return embeddings.astype(dtype)


def _fail(task: ExtractionTask, message: str, failures: set[ExtractionTask]) -> None:
    """Raise InputError for a requested task; warn once of any other."""
    if task.requested:
        raise InputError(message)
    if task not in failures:
        logger.warning("%s is not computed alongside: %s", task.backbone.settings.model, message)
        failures.add(task)
