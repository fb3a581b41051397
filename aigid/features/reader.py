"""From a manifest row to the towers' inputs: read once, decode once, every view and size that is wanted."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aigid.core.embeddings import OK
from aigid.core.paths import AnyPath
from aigid.degradations import views
from aigid.features.decoding import DECODE_BACKENDS
from aigid.features.preprocess import Preprocess
from aigid.images.errors import ImageError
from aigid.images.formats import read_bytes

FILE_CHANGED = "changed"  # not the file that the manifest was made from


class ViewSpec(NamedTuple):
    """What a tower wants to see of an image."""

    view: str
    preprocess: Preprocess
    decode: str = "exact"

    @property
    def num_bytes(self) -> int:
        """Of its square."""
        return 3 * self.preprocess.size**2


@dataclass(frozen=True)
class ReadRequest:
    """A manifest row, the ``sha256`` that its file must have, and what is wanted of it."""

    place: int
    path: str
    sha256: str
    wanted: tuple[ViewSpec, ...]


@dataclass(frozen=True)
class DecodedImage:
    """What a request gave: an (S, S, 3) uint8 square for each input, or the reason why there is none.

    ``refused`` says why a tower cannot take a view of a whole image.
    """

    place: int
    path: str
    sha256: str
    status: str = OK
    message: str = ""
    squares: dict[ViewSpec, np.ndarray] = field(default_factory=dict)
    refused: dict[ViewSpec, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads images below ``root``; ``seed`` is that of the views.

    ``look`` is shown the pixels of every image that is decoded, with its sha256, in the thread that decodes it.
    """

    root: AnyPath
    seed: int
    look: Callable[[str, np.ndarray], object] | None = None

    def read(self, request: ReadRequest) -> DecodedImage:
        """One image; it never fails but by a status."""
        known = (request.place, request.path, request.sha256)
        try:
            content = read_bytes(self.root / request.path)
            found = hashlib.sha256(content).hexdigest()
            if found != request.sha256:
                message = f"sha256 {found[:12]}..., in the manifest {request.sha256[:12]}..."
                return DecodedImage(*known, FILE_CHANGED, message)
            images = {how: DECODE_BACKENDS[how].decode(content) for how in {wanted.decode for wanted in request.wanted}}
        except ImageError as error:
            return DecodedImage(*known, error.status, error.message)
        if self.look:
            self.look(found, next(iter(images.values())))
        sample = DecodedImage(*known)
        for view, how in dict.fromkeys((wanted.view, wanted.decode) for wanted in request.wanted):
            seen = views.apply(view, images[how], found, self.seed)[0]
            for wanted in (wanted for wanted in request.wanted if (wanted.view, wanted.decode) == (view, how)):
                if why := _too_small(seen, images[how], wanted):
                    sample.refused[wanted] = why
                else:
                    sample.squares[wanted] = DECODE_BACKENDS[how].to_square(seen, wanted.preprocess)
        return sample

    def samples(self, requests: Iterable[ReadRequest], workers: int, ahead: int) -> Iterator[DecodedImage]:
        """The samples in order; threads read at most the next ``ahead`` meanwhile."""
        waiting: deque[Future[DecodedImage]] = deque()
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


def _too_small(seen: np.ndarray, image: np.ndarray, wanted: ViewSpec) -> str:
    """Why a tower that does not resize cannot take a view that shrinks an image below its input; or nothing.

    Its black frame would tell the view apart. An image that is small by itself is framed, as its authors do.
    """
    (height, width), size = seen.shape[:2], wanted.preprocess.size
    if wanted.preprocess.resize != "none" or min(height, width) >= min(size, *image.shape[:2]):
        return ""
    return f"view {wanted.view} gives {width} x {height}, and the backbone takes {size} x {size} without resizing"
