"""From a manifest row to the towers' inputs: read once, decode once, every view and size that is wanted."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aigid.base.remote import Place
from aigid.data.reading.errors import ImageError
from aigid.data.reading.formats import read_bytes
from aigid.degrade import views
from aigid.features.decoding import DECODINGS
from aigid.features.preprocess import Preprocess
from aigid.store import OK

CHANGED = "changed"  # not the file that the manifest was made from


class Input(NamedTuple):
    """What a tower wants to see of an image."""

    view: str
    preprocess: Preprocess
    decode: str = "exact"

    @property
    def num_bytes(self) -> int:
        """Of its square."""
        return 3 * self.preprocess.size**2


@dataclass(frozen=True)
class Request:
    """A manifest row, the ``sha256`` that its file must have, and what is wanted of it."""

    place: int
    path: str
    sha256: str
    wanted: tuple[Input, ...]


@dataclass(frozen=True)
class Sample:
    """What a request gave: an (S, S, 3) uint8 square for each input, or the reason why there is none.

    ``refused`` says why a tower cannot take a view of a whole image.
    """

    place: int
    path: str
    sha256: str
    status: str = OK
    message: str = ""
    squares: dict[Input, np.ndarray] = field(default_factory=dict)
    refused: dict[Input, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads images below ``root``; ``seed`` is that of the views.

    ``look`` is shown the pixels of every image that is decoded, with its sha256, in the thread that decodes it.
    """

    root: Place
    seed: int
    look: Callable[[str, np.ndarray], object] | None = None

    def read(self, request: Request) -> Sample:
        """One image; it never fails but by a status."""
        known = (request.place, request.path, request.sha256)
        try:
            content = read_bytes(self.root / request.path)
            found = hashlib.sha256(content).hexdigest()
            if found != request.sha256:
                message = f"sha256 {found[:12]}..., in the manifest {request.sha256[:12]}..."
                return Sample(*known, CHANGED, message)
            images = {how: DECODINGS[how].decode(content) for how in {wanted.decode for wanted in request.wanted}}
        except ImageError as error:
            return Sample(*known, error.status, error.message)
        if self.look:
            self.look(found, next(iter(images.values())))
        sample = Sample(*known)
        for view, how in dict.fromkeys((wanted.view, wanted.decode) for wanted in request.wanted):
            seen = views.apply(view, images[how], found, self.seed)[0]
            for wanted in (wanted for wanted in request.wanted if (wanted.view, wanted.decode) == (view, how)):
                if why := _too_small(seen, images[how], wanted):
                    sample.refused[wanted] = why
                else:
                    sample.squares[wanted] = DECODINGS[how].to_square(seen, wanted.preprocess)
        return sample

    def samples(self, requests: Iterable[Request], workers: int, ahead: int) -> Iterator[Sample]:
        """The samples in order; threads read at most the next ``ahead`` meanwhile."""
        waiting: deque[Future[Sample]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            for request in requests:
                waiting.append(pool.submit(self.read, request))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _too_small(seen: np.ndarray, image: np.ndarray, wanted: Input) -> str:
    """Why a tower that does not resize cannot take a view that shrinks an image below its input; or nothing.

    Its black frame would tell the view apart. An image that is small by itself is framed, as its authors do.
    """
    (height, width), size = seen.shape[:2], wanted.preprocess.size
    if wanted.preprocess.resize != "none" or min(height, width) >= min(size, *image.shape[:2]):
        return ""
    return f"view {wanted.view} gives {width} x {height}, and the backbone takes {size} x {size} without resizing"
