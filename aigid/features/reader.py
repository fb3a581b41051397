"""From a manifest row to a backbone's input: read once, decode once, every view and every size."""

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
class Sample:
    """One image, ready for every tower in every view, or the reason why it is not."""

    path: str
    sha256: str
    status: str = OK
    message: str = ""
    squares: dict[str, list[np.ndarray]] = field(default_factory=dict)  # view: one (S, S, 3) uint8 a tower


@dataclass(frozen=True)
class Reader:
    """Reads images below ``root`` into the ``names`` views, sized for each of the ``sizes``."""

    root: Path
    names: tuple[str, ...]
    sizes: tuple[Preprocess, ...]
    seed: int

    def read(self, path: str, expected: str) -> Sample:
        """One image; ``expected`` is its sha256 in the manifest, or empty."""
        try:
            content = read_bytes(self.root / path)
            found = hashlib.sha256(content).hexdigest()
            if expected and found != expected:
                return Sample(path, expected, CHANGED, f"sha256 {found[:12]}..., in the manifest {expected[:12]}...")
            image = decode(content)
        except ImageError as error:
            return Sample(path, expected, error.status, error.message)
        squares = {}
        for name in self.names:
            seen, _ = views.apply(name, image, found, self.seed)
            squares[name] = [to_square(seen, size) for size in self.sizes]
        return Sample(path, found, squares=squares)

    def batches(self, rows: Iterable[tuple[str, str]], size: int, workers: int) -> Iterator[list[Sample]]:
        """Samples of the (path, sha256) rows, in their order, ``size`` at a time, decoded ahead by threads."""
        ahead: deque[Future[Sample]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            for row in rows:
                ahead.append(pool.submit(self.read, *row))
                if len(ahead) == 3 * size:
                    yield [ahead.popleft().result() for _ in range(size)]
            while ahead:
                yield [ahead.popleft().result() for _ in range(min(size, len(ahead)))]
