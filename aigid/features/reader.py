"""Read each image of a manifest once, decode it once, and prepare it for every view and backbone."""

import hashlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aigid.core.embeddings import OK
from aigid.core.files import map_ahead
from aigid.core.paths import AnyPath
from aigid.degradations import views
from aigid.features.preprocess import DECODE_BACKENDS, Pixels, Preprocess
from aigid.images import ImageError, Status
from aigid.images.formats import read_bytes


class ViewSpec(NamedTuple):
    """A view of an image, and how a backbone decodes and preprocesses it."""

    view: str
    preprocess: Preprocess
    decode: str = "exact"


@dataclass(frozen=True)
class ReadRequest:
    """A manifest row, the ``sha256`` that its file must have, and the inputs to prepare."""

    index: int
    path: str
    sha256: str
    view_specs: tuple[ViewSpec, ...]


@dataclass(frozen=True)
class DecodedImage:
    """The (S, S, 3) uint8 inputs of a request, or a status and message; ``errors`` explains views that do not fit."""

    index: int
    path: str
    sha256: str
    status: str = OK
    message: str = ""
    inputs: dict[ViewSpec, Pixels] = field(default_factory=dict)
    errors: dict[ViewSpec, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads images below ``root``; ``seed`` is that of the views.

    Images that ``pixels`` holds, (H, W, 3) uint8 by sha256, are neither read nor decoded again.
    """

    root: AnyPath
    seed: int
    pixels: Mapping[str, Pixels] = field(default_factory=dict)

    def read(self, request: ReadRequest) -> DecodedImage:
        """Read one image; failures are returned as a status, never raised."""
        row = request.index, request.path, request.sha256
        sample = DecodedImage(*row)
        try:
            self._prepare(request, sample)
        except ImageError as error:
            return DecodedImage(*row, error.status, error.message)
        return sample

    def _prepare(self, request: ReadRequest, sample: DecodedImage) -> None:
        images = self._decode(request)
        for view, decode in dict.fromkeys((spec.view, spec.decode) for spec in request.view_specs):
            viewed = views.apply(view, images[decode], request.sha256, self.seed)[0]
            for spec in (spec for spec in request.view_specs if (spec.view, spec.decode) == (view, decode)):
                if message := _too_small(viewed, images[decode], spec):
                    sample.errors[spec] = message
                else:
                    sample.inputs[spec] = DECODE_BACKENDS[decode].to_square(viewed, spec.preprocess)

    def _decode(self, request: ReadRequest) -> dict[str, Pixels]:
        """Return the pixels by decode backend; all backends give the same."""
        backends = {spec.decode for spec in request.view_specs}
        if request.sha256 in self.pixels:
            return dict.fromkeys(backends, self.pixels[request.sha256])
        content = read_bytes(self.root / request.path)
        digest = hashlib.sha256(content).hexdigest()
        if digest != request.sha256:
            raise ImageError(Status.CHANGED, f"sha256 {digest[:12]}..., in the manifest {request.sha256[:12]}...")
        return {backend: DECODE_BACKENDS[backend].decode(content) for backend in backends}

    def samples(self, requests: Iterable[ReadRequest], workers: int, prefetch: int) -> Generator[DecodedImage]:
        """Yield the samples in order; threads read at most ``prefetch`` of them ahead."""
        return map_ahead(self.read, requests, workers, prefetch)


def _too_small(viewed: Pixels, image: Pixels, spec: ViewSpec) -> str:
    """Return why a backbone that does not resize cannot take a view that shrinks an image below its input, or "".

    The black padding would give the view away. An image that is small by itself is padded, as its authors do.
    """
    (height, width), size = viewed.shape[:2], spec.preprocess.size
    if spec.preprocess.resize != "none" or min(height, width) >= min(size, *image.shape[:2]):
        return ""
    return f"view {spec.view} gives {width} x {height}, and the backbone takes {size} x {size} without resizing"
