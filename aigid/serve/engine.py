"""One thread that scores what arrives together."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic

from aigid.prediction.inspection import InspectedImage, inspect_batches, inspect_content
from aigid.prediction.predict import Predictor, predict_inspected
from aigid.prediction.verdict import Prediction

MAX_BATCH = 32  # images
MAX_WAIT = 0.005  # seconds for which an image waits for others
SMOOTHING = 0.1  # weight of a new batch in the mean time of an image
Scored = tuple[InspectedImage, list[Prediction]]  # without its pixels; one prediction for each model
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is wanted of an image; ``stable`` and ``explain`` take many times as long as a verdict alone."""

    models: tuple[str, ...]
    stable: bool = False
    explain: bool = False

    @property
    def slow(self) -> bool:
        return self.stable or self.explain


@dataclass(eq=False)
class Job:
    """An image that waits; a ``future`` that is cancelled before its turn costs nothing."""

    name: str
    content: bytes
    options: Options
    future: "Future[Scored]" = field(default_factory=Future)
    arrived: float = field(default_factory=monotonic)


class Engine:
    """Scores jobs in the order of arrival, up to ``MAX_BATCH`` with equal options at once; slow ones one by one.

    Where both wait, fast and slow ones take turns. ``on_batch`` gets the size of each batch.
    """

    def __init__(
        self, predictors: Mapping[str, Predictor], max_pixels: int, on_batch: Callable[[int], None] = lambda size: None
    ) -> None:
        self.predictors, self.max_pixels, self.on_batch = predictors, max_pixels, on_batch
        self.seconds_per_image = 0.1
        self._fast: deque[Job] = deque()
        self._slow: deque[Job] = deque()
        self._condition, self._closed, self._last_slow = threading.Condition(), False, False
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of images that wait."""
        return len(self._fast) + len(self._slow)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, jobs: list[Job]) -> None:
        """Let jobs wait for their turn."""
        with self._condition:
            for job in jobs:
                (self._slow if job.options.slow else self._fast).append(job)
            self._condition.notify()

    def close(self) -> None:
        """Score what waits, and end."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                start = monotonic()
                self.on_batch(len(running))
                self._score(running)
                self.seconds_per_image += SMOOTHING * ((monotonic() - start) / len(running) - self.seconds_per_image)
            del batch, running  # their images, before the next are waited for

    def _take(self) -> list[Job] | None:
        with self._condition:
            self._condition.wait_for(lambda: self.waiting or self._closed)
            if not self.waiting:
                return None
            if self._slow and not (self._fast and self._last_slow):
                self._last_slow = True
                return [self._slow.popleft()]
            self._last_slow, queue = False, self._fast
            if not self._closed and (left := queue[0].arrived + MAX_WAIT - monotonic()) > 0:
                self._condition.wait_for(lambda: len(queue) >= MAX_BATCH, left)
            batch = [job for job in queue if job.options == queue[0].options][:MAX_BATCH]
            chosen = set(map(id, batch))
            self._fast = deque(job for job in queue if id(job) not in chosen)
            return batch

    def _score(self, jobs: list[Job]) -> None:
        """Answer the jobs; where that fails for all of them together, each alone, so that none spoils the others."""
        try:
            self._predict(jobs)
        except Exception as error:
            left = [job for job in jobs if not job.future.done()]
            if len(jobs) > 1:
                for job in left:
                    self._score([job])
            else:
                logger.exception("scoring failed")
                left[0].future.set_exception(error)

    def _predict(self, jobs: list[Job]) -> None:
        options = jobs[0].options
        predictors = [self.predictors[name] for name in options.models]
        pending = iter(jobs)

        def inspect(job: Job, _: int) -> InspectedImage:
            return inspect_content(job.content, job.name, max_pixels=self.max_pixels)

        for batch in inspect_batches(jobs, inspect):
            rows = predict_inspected(predictors, batch, (), options.explain, options.stable, cached=False)
            for image, row in zip(batch, rows, strict=True):
                next(pending).future.set_result((image.without_pixels(), row))
