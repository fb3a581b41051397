"""From a manifest row to the towers' inputs: read once, decode once, every view and size that is wanted."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
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

    Images that ``pixels`` holds, (H, W, 3) uint8 by sha256, are neither read nor decoded again.
    """

    root: AnyPath
    seed: int
    pixels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def read(self, request: ReadRequest) -> DecodedImage:
        """One image; it never fails but by a status."""
        known = (request.place, request.path, request.sha256)
        try:
            images = self._decode(request)
        except ImageError as error:
            return DecodedImage(*known, error.status, error.message)
        sample = DecodedImage(*known)
        for view, how in dict.fromkeys((wanted.view, wanted.decode) for wanted in request.wanted):
            seen = views.apply(view, images[how], request.sha256, self.seed)[0]
            for wanted in (wanted for wanted in request.wanted if (wanted.view, wanted.decode) == (view, how)):
                if why := _too_small(seen, images[how], wanted):
                    sample.refused[wanted] = why
                else:
                    sample.squares[wanted] = DECODE_BACKENDS[how].to_square(seen, wanted.preprocess)
        return sample

    def _decode(self, request: ReadRequest) -> dict[str, np.ndarray]:
        """Return the pixels by decode backend, whose pixels are the same."""
        backends = {view.decode for view in request.wanted}
        if request.sha256 in self.pixels:
            return dict.fromkeys(backends, self.pixels[request.sha256])
        content = read_bytes(self.root / request.path)
        digest = hashlib.sha256(content).hexdigest()
        if digest != request.sha256:
            raise ImageError(FILE_CHANGED, f"sha256 {digest[:12]}..., in the manifest {request.sha256[:12]}...")
        return {backend: DECODE_BACKENDS[backend].decode(content) for backend in backends}

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
