"""Read each image of a manifest once, decode it once, and prepare it for every view and backbone."""

import hashlib
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from aigid.core.embeddings import OK
from aigid.core.files import map_ahead
from aigid.core.paths import READS, AnyPath, is_remote
from aigid.degradations import views
from aigid.features.preprocess import DECODE_BACKENDS, Pixels, Preprocess
from aigid.images import ImageError, Status
from aigid.images.decode import decode
from aigid.images.formats import read_bytes

AHEAD, AHEAD_BYTES = 1024, 2**27  # files of another machine that wait to be decoded


class ViewSpec(NamedTuple):
    """A view of an image, and how a backbone decodes and preprocesses it."""

    view: str
    preprocess: Preprocess
    decode: str = "exact"

    @property
    def short(self) -> int:
        """The side in pixels that the image may be reduced to as it is decoded; 0 where all pixels count."""
        return self.preprocess.resized if DECODE_BACKENDS[self.decode].reduced and self.view == "clean" else 0


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
        return self._prepare(request, self._fetch(request))

    def _fetch(self, request: ReadRequest) -> bytes | ImageError:
        """Return the bytes of a file, none of an image whose pixels are known, or why there are none."""
        try:
            return b"" if request.sha256 in self.pixels else read_bytes(self.root / request.path)
        except ImageError as error:
            return error

    def _prepare(self, request: ReadRequest, content: bytes | ImageError) -> DecodedImage:
        row = request.index, request.path, request.sha256
        sample = DecodedImage(*row)
        try:
            if isinstance(content, ImageError):
                raise content
            self._add_inputs(request, self._decode(request, content), sample)
        except ImageError as error:
            return DecodedImage(*row, error.status, error.message)
        return sample

    def _add_inputs(self, request: ReadRequest, images: dict[int, Pixels], sample: DecodedImage) -> None:
        for view, short in dict.fromkeys((spec.view, spec.short) for spec in request.view_specs):
            viewed = views.apply(view, images[short], request.sha256, self.seed)[0]
            for spec in (spec for spec in request.view_specs if (spec.view, spec.short) == (view, short)):
                if message := _too_small(viewed, images[short], spec):
                    sample.errors[spec] = message
                else:
                    sample.inputs[spec] = DECODE_BACKENDS[spec.decode].to_square(viewed, spec.preprocess)

    def _decode(self, request: ReadRequest, content: bytes) -> dict[int, Pixels]:
        """Return the pixels by the side that they may be reduced to."""
        sides = {spec.short for spec in request.view_specs}
        if request.sha256 in self.pixels:
            return dict.fromkeys(sides, self.pixels[request.sha256])
        digest = hashlib.sha256(content).hexdigest()
        if digest != request.sha256:
            raise ImageError(Status.CHANGED, f"sha256 {digest[:12]}..., in the manifest {request.sha256[:12]}...")
        return {short: decode(content, short=short) for short in sides}

    def samples(self, requests: Iterable[ReadRequest], workers: int, prefetch: int) -> Generator[DecodedImage]:
        """Yield the samples in order; threads read at most ``prefetch`` of them ahead."""
        if not is_remote(self.root):
            yield from map_ahead(self.read, requests, workers, prefetch)
            return
        with (
            closing(self._fetch_ahead(requests)) as fetched,
            closing(map_ahead(lambda pair: self._prepare(*pair), fetched, workers, prefetch)) as samples,
        ):
            yield from samples

    def _fetch_ahead(self, requests: Iterable[ReadRequest]) -> Generator[tuple[ReadRequest, bytes | ImageError]]:
        """Yield files of another machine in order, ``READS`` at once.

        While one must be asked for again, others are read: ``AHEAD`` of them, or as many as have ``AHEAD_BYTES``.
        """
        largest = 0

        def fetch(request: ReadRequest) -> tuple[ReadRequest, bytes | ImageError]:
            nonlocal largest
            content = self._fetch(request)
            if isinstance(content, bytes):
                largest = max(largest, len(content))
            return request, content

        def ahead() -> int:
            return min(max(AHEAD_BYTES // largest, READS), AHEAD) if largest else READS

        return map_ahead(fetch, requests, READS, ahead)


def _too_small(viewed: Pixels, image: Pixels, spec: ViewSpec) -> str:
    """Return why a backbone that does not resize cannot take a view that shrinks an image below its input, or "".

    The black padding would give the view away. An image that is small by itself is padded, as its authors do.
    """
    (height, width), size = viewed.shape[:2], spec.preprocess.size
    if spec.preprocess.resize != "none" or min(height, width) >= min(size, *image.shape[:2]):
        return ""
    return f"view {spec.view} gives {width} x {height}, and the backbone takes {size} x {size} without resizing"
