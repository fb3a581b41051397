"""From a manifest row to the towers' inputs: read once, decode once, every view and size that is wanted."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aigid.data.formats import ImageError, read_bytes
from aigid.data.images import decode
from aigid.degrade import views
from aigid.features.preprocess import Preprocess, to_square
from aigid.store import OK

CHANGED = "changed"  # not the file that the manifest was made from


@dataclass(frozen=True)
class Request:
    """A manifest row, its ``sha256`` there (or empty), and which input is wanted of it, each with its view's name."""

    place: int
    path: str
    sha256: str
    wanted: tuple[tuple[str, Preprocess], ...]


@dataclass(frozen=True)
class Sample:
    """What a request gave: an (S, S, 3) uint8 square for each input, or the reason why there is none."""

    place: int
    path: str
    sha256: str
    status: str = OK
    message: str = ""
    squares: dict[tuple[str, Preprocess], np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads images below ``root``; ``seed`` is that of the views."""

    root: Path
    seed: int

    def read(self, request: Request) -> Sample:
        """One image; it never fails but by a status."""
        known = (request.place, request.path, request.sha256)
        try:
            content = read_bytes(self.root / request.path)
            found = hashlib.sha256(content).hexdigest()
            if request.sha256 and found != request.sha256:
                message = f"sha256 {found[:12]}..., in the manifest {request.sha256[:12]}..."
                return Sample(*known, CHANGED, message)
            image = decode(content)
        except ImageError as error:
            return Sample(*known, error.status, error.message)
        seen = {name: views.apply(name, image, found, self.seed)[0] for name in {name for name, _ in request.wanted}}
        squares = {(name, size): to_square(seen[name], size) for name, size in request.wanted}
        return Sample(request.place, request.path, found, squares=squares)

    def batches(self, requests: Iterable[list[Request]], workers: int) -> Iterator[list[Sample]]:
        """The samples of each list of requests, in order; threads read the next two lists meanwhile."""
        ahead: deque[list[Future[Sample]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            for batch in requests:
                ahead.append([pool.submit(self.read, request) for request in batch])
                if len(ahead) == 3:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]
