"""The fakes that were made already, by generator and photograph: what a kill leaves, and what is not made twice.

``$AIGID_CACHE/aligned/<generator>/<ab>/<sha256 of the photograph's file>.png`` holds the fake as the generator gave it,
before it is compressed like its photograph. A file stands there whole or not at all.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from aigid.core.cache import entry_path
from aigid.core.files import atomic_write
from aigid.images.decode import decode
from aigid.images.errors import ImageError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArrayCache:
    """The fakes of one generator."""

    folder: Path

    def get(self, digest: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """The fake (H, W, 3) uint8 of a photograph, or None where there is none, or a damaged one."""
        path = self._path(digest)
        if not path.exists():
            return None
        try:
            fake = decode(path)
        except ImageError as error:
            LOG.warning("%s is damaged (%s): made again", path, error)
            return None
        return fake if fake.shape == shape else None

    def put(self, digest: str, fake: np.ndarray) -> None:
        """Keep a fake (H, W, 3) uint8."""
        with atomic_write(self._path(digest)) as part:
            Image.fromarray(fake).save(part, "PNG", compress_level=1)

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.png"


def open_cache(about: dict[str, object]) -> ArrayCache:
    """The shelf of a generator; ``about`` holds all that decides its fakes, and is written beside them."""
    return ArrayCache(entry_path("aligned", about))
