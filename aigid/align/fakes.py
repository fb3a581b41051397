"""Fakes of photographs, made in batches and only where the shelf does not hold them."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from aigid.align.domains import AlignSettings
from aigid.align.maker import Maker
from aigid.align.photographs import Photograph
from aigid.align.shelf import Shelf, shelf
from aigid.base.errors import InputError
from aigid.base.files import batch_size
from aigid.features import weights

REVISION = 1  # of the fakes' bytes; raise it when a maker gives others than before
USUAL = 64 * 64  # px of the images that make a batch; of larger ones it takes fewer
BATCH = 64  # of these, unless $AIGID_BATCH says otherwise


class Fakes:
    """Collects photographs until those of one size fill a batch; ``num_made`` counts the fakes that were made.

    A batch of a size is always the same number of images, the last one padded, as a sum's last bits depend on it: a
    fake must not depend on its photograph's company, nor on what was made before a kill.
    """

    def __init__(self, maker: Maker, settings: AlignSettings, device: torch.device) -> None:
        self.about = {
            "revision": REVISION,
            "domain": settings.domain,
            "seed": settings.seed if settings.domain == "vae" else 0,
            "architecture": maker.architecture,
            "weights_sha256": weights.sha256_of(maker.network),
        }
        self.maker, self.device = maker.to(device), device
        self.num_made = 0
        self._waiting: defaultdict[tuple[int, ...], dict[str, np.ndarray]] = defaultdict(dict)

    @cached_property
    def shelf(self) -> Shelf:
        """Theirs in this machine's cache, made when it is first asked for, unless another was set."""
        return shelf(self.about)

    def want(self, photograph: Photograph) -> None:
        """See to it that, once ``finish`` was called, the photograph's fake is on the shelf."""
        shape, waiting = photograph.pixels.shape, self._waiting[photograph.pixels.shape]
        if photograph.digest in waiting or self.shelf.get(photograph.digest, shape) is not None:
            return
        waiting[photograph.digest] = photograph.pixels
        if len(waiting) == _size(shape):
            self._make(shape)

    def finish(self) -> None:
        """Make the fakes that still wait for company."""
        for shape in list(self._waiting):
            self._make(shape)

    def _make(self, shape: tuple[int, ...]) -> None:
        waiting = self._waiting.pop(shape)
        if not waiting:
            return
        for digest, fake in zip(waiting, self._forward(waiting, shape), strict=False):
            self.shelf.put(digest, fake)
        self.num_made += len(waiting)

    @torch.inference_mode()
    def _forward(self, waiting: dict[str, np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        batch = np.zeros((_size(shape), *shape), np.uint8)
        batch[: len(waiting)] = list(waiting.values())
        digests = [*waiting, *[""] * (len(batch) - len(waiting))]
        pixels = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
        try:
            fakes = (self.maker(pixels, digests).clamp(0, 1) * 255).round().byte()
        except torch.OutOfMemoryError:
            what = f"{len(batch)} photographs of {shape[1]} x {shape[0]} px at once"
            raise InputError(
                f"{what} are too much for the memory of {self.device}; AIGID_BATCH sets how many"
            ) from None
        return iter(fakes.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def _size(shape: tuple[int, ...]) -> int:
    return max(1, (batch_size() or BATCH) * USUAL // max(USUAL, shape[0] * shape[1]))
