"""The first step of a prediction: read an image once, decode it once, say what makes any verdict unsafe.

Beside it what an image says of itself, provenance and generator parameters, which anybody can write or strip: no score
has seen any of it, and it has seen no pixel.
"""

import json
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from aigid.core.embeddings import OK
from aigid.core.errors import InputError, reason
from aigid.core.files import map_ahead, num_workers
from aigid.images import ImageError, Pixels
from aigid.images.color import profile_error
from aigid.images.decode import decode_with, is_halved
from aigid.images.formats import format_of
from aigid.prediction import inputs

T = TypeVar("T")
MAX_IMAGES, MAX_BYTES = 128, 2**27  # of a batch, of which two are in memory: images, and bytes of their pixels
HALVED_NOTE = "read at half its sides, as it has more pixels than the limit"
MIN_PIXELS = 32  # of the shorter side
SAMPLED_ROWS = 32  # of an image, evenly spaced
MAX_FLAT_SHARE = 0.5  # share of pixels equal to both neighbors, above which an image looks drawn by a screen


@dataclass(frozen=True, eq=False)
class InspectedImage:
    """The ``pixels`` (H, W, 3) uint8 of an image and the sha256 of its file, or ``status`` and ``message`` alone."""

    path: str
    sha256: str = ""
    pixels: Pixels | None = None
    warnings: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    status: str = OK
    message: str = ""
    size: tuple[int, int] | None = None  # width and height, also once the pixels are gone
    note: str = ""  # on the reading, which makes no verdict unsafe

    def without_pixels(self) -> "InspectedImage":
        """Return the same without pixels, which take the most memory."""
        return replace(self, pixels=None)


def inspect(image: Any, number: int = 0) -> InspectedImage:
    """Return what one read of an image gives: a path, or what ``inputs.encode`` takes, then called ``number``."""
    path = inputs.path_of(image) or f"{number}.png"
    try:
        return inspect_content(inputs.encode(image), path)
    except ImageError as error:
        return InspectedImage(path, status=str(error.status), message=error.message)


def inspect_content(content: bytes, path: str, max_pixels: int | None = None) -> InspectedImage:
    """Return what the bytes of an image file give."""
    digest = sha256(content).hexdigest()
    try:
        pixels, (claims, profile, halved) = decode_with(
            content, lambda image: (container(image), profile_error(image), is_halved(image)), max_pixels
        )
    except ImageError as error:
        return InspectedImage(path, digest, status=str(error.status), message=error.message)
    claims = summarize(content, claims)
    warnings = pixel_warnings(pixels)
    if profile:
        warnings += (f"its color profile cannot be used ({profile}): colors taken for sRGB",)
    size, note = (pixels.shape[1], pixels.shape[0]), HALVED_NOTE if halved else ""
    return InspectedImage(path, digest, pixels, warnings, claims, size=size, note=note)


def inspect_batches(
    images: Sequence[T], inspect: Callable[[T, int], InspectedImage] = inspect
) -> Iterator[list[InspectedImage]]:
    """Yield the inspected images in order, as ``batch_by_size``; the next batch is read while one is in use."""
    workers = num_workers()
    batches = batch_by_size(map_ahead(lambda pair: inspect(pair[1], pair[0]), enumerate(images), workers, workers + 1))
    with closing(batches), ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, batches, None)
        while batch := pending.result():
            pending = pool.submit(next, batches, None)
            yield batch


def batch_by_size(images: Iterable[InspectedImage]) -> Generator[list[InspectedImage]]:
    """Yield lists of at most ``MAX_IMAGES`` that end where their pixels reach ``MAX_BYTES``."""
    batch: list[InspectedImage] = []
    num_bytes = 0
    for image in images:
        batch.append(image)
        num_bytes += 0 if image.pixels is None else image.pixels.nbytes
        if len(batch) == MAX_IMAGES or num_bytes >= MAX_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def pixel_warnings(image: Pixels) -> tuple[str, ...]:
    """Return a line where an image (H, W, 3) uint8 has too few pixels, or looks like a screenshot."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_PIXELS:
        return (f"{width} x {height} pixels: too small to say",)
    if (share := flat_pixel_share(image)) > MAX_FLAT_SHARE:
        return (f"{share:.0%} of it is flat, as in a screenshot or a drawing: not what detectors learn from",)
    return ()


def flat_pixel_share(image: Pixels) -> float:
    """Return the share of pixels equal to their right and lower neighbor in all channels, on ``SAMPLED_ROWS`` rows."""
    rows = np.arange(0, len(image) - 1, -(-len(image) // SAMPLED_ROWS))
    upper, lower = _pack_rgb(image[rows]), _pack_rgb(image[rows + 1])
    same = (upper[:, :-1] == upper[:, 1:]) & (upper[:, :-1] == lower[:, :-1])
    return float(np.mean(same)) if same.size else 0.0


def _pack_rgb(image: Pixels) -> NDArray[np.integer[Any]]:
    packed: NDArray[np.integer[Any]] = (
        image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
    )
    return packed


SOURCE_TYPE = re.compile(rb"digitalsourcetype/([A-Za-z]{4,60})")  # IPTC's vocabulary, in XMP or in a C2PA assertion
AI_SOURCE_TYPES = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia")
C2PA = (b"jumbc2pa", b"c2pa.claim", b"urn:c2pa", b"urn:uuid:c2pa")
TEXT = {  # keys of PNG text under which programs leave what made an image: the program
    "parameters": "Stable Diffusion web UI",
    "prompt": "ComfyUI",
    "workflow": "ComfyUI",
    "sd-metadata": "InvokeAI",
    "invokeai_metadata": "InvokeAI",
    "Dream": "Stable Diffusion",
    "Comment": "NovelAI",
}
GENERATOR_NAMES = re.compile(
    r"midjourney|stable.?diffusion|dall.?e|firefly|imagen|flux|novelai|comfyui|invokeai|openai|gemini|ideogram", re.I
)
CAMERA, SOFTWARE, DESCRIPTION = {0x010F: "make", 0x0110: "model"}, 0x0131, 0x010E
MAX_QUOTED_CHARS = 300  # characters that are quoted


def summarize(content: bytes, claims: dict[str, Any]) -> dict[str, Any]:
    """Return what an image says of itself, ``summary`` in words; empty where it says nothing.

    ``claims`` are those of ``container``. ``c2pa``: ``state`` is ``present`` (unchecked), ``absent``, ``invalid``,
    ``valid, signer unknown`` or ``valid, signer on the trust list NAME of DATE``.
    """
    result: dict[str, Any] = {}
    if types := sorted({match.decode() for match in SOURCE_TYPE.findall(content)}):
        result["digital_source_type"] = types
    if b"c2pa" in content and any(mark in content for mark in C2PA):
        result["c2pa"] = _c2pa(content)
    result |= claims
    return result | {"summary": _summary(result)} if result else {}


def container(image: ImageFile) -> dict[str, Any]:
    """Return what EXIF and PNG text of a loaded image say of the program or camera; broken metadata say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
            exif = dict(image.getexif())
    except Exception:  # parsers of hostile bytes raise anything
        return {}
    result: dict[str, Any] = {}
    tags = {key: value for key, value in text.items() if key in TEXT}  # those of many uses are a generator's as JSON
    parameters = {key: tags[key] for key in tags if key not in ("Comment", "prompt") or tags[key].lstrip()[:1] == "{"}
    if parameters:
        result["generator_parameters"] = {key: value[:MAX_QUOTED_CHARS] for key, value in parameters.items()}
    camera = " ".join(str(exif[tag]).strip("\0 ") for tag in CAMERA if tag in exif)
    if camera:
        result["camera"] = camera[:MAX_QUOTED_CHARS]
    programs = [str(exif.get(tag, "")) for tag in (SOFTWARE, DESCRIPTION)] + [text.get("Software", "")]
    if software := next((value for value in programs if GENERATOR_NAMES.search(value)), ""):
        result["software"] = software[:MAX_QUOTED_CHARS]
    return result


def _c2pa(content: bytes) -> dict[str, Any]:
    """Return the manifest store's state, checked where the optional package `c2pa-python` is installed.

    A signer is known where its certificate leads to one of the PEM file that ``$AIGID_TRUST_LIST`` names.
    """
    try:
        import c2pa
    except ImportError:
        return {"state": "present", "checked": False, "why": "the extra c2pa checks its signature"}
    path = os.environ.get("AIGID_TRUST_LIST")
    settings, known = _trust_list(path, Path(path).stat().st_mtime_ns) if path else ({}, "")
    try:
        source = f"image/{format_of(content[:1024]).lower()}", BytesIO(content)
        with c2pa.Context.from_dict(settings) as context, c2pa.Reader(*source, context=context) as reader:
            store = json.loads(reader.json())
        active = store.get("manifests", {}).get(store.get("active_manifest"), {})
        programs = active.get("claim_generator_info") or [{"name": active.get("claim_generator") or ""}]
        signer, program = active.get("signature_info", {}).get("issuer", ""), programs[0].get("name", "")
    except Exception as error:
        absent = "ManifestNotFound" in type(error).__name__
        return {"state": "absent" if absent else "invalid", "checked": True, "why": reason(error, MAX_QUOTED_CHARS)}
    state = {"Valid": "valid, signer unknown", "Trusted": known}.get(store.get("validation_state"), "invalid")
    return {"state": state, "checked": True, "signer": signer, "claimed_by": program}


@lru_cache(maxsize=1)
def _trust_list(path: str, changed: int) -> tuple[dict[str, Any], str]:
    """Return c2pa's settings for a PEM file, changed at that time in ns, and the state of what it vouches for."""
    try:
        anchors = Path(path).read_text(encoding="utf-8")
    except ValueError as error:
        raise InputError(f"AIGID_TRUST_LIST={path}: no PEM file: {reason(error)}") from None
    date = datetime.fromtimestamp(changed / 1e9, UTC).date()
    return {"trust": {"trust_anchors": anchors}}, f"valid, signer on the trust list {Path(path).name} of {date}"


def _summary(claims: dict[str, Any]) -> str:
    lines = []
    if types := claims.get("digital_source_type"):
        generated = any(name in AI_SOURCE_TYPES for name in types)
        lines.append(f"{'made by an algorithm' if generated else 'source'} ({', '.join(types)})")
    if store := claims.get("c2pa"):
        lines.append(f"C2PA {store['state']}{'' if store['checked'] else ', unchecked'}")
    if parameters := claims.get("generator_parameters"):
        lines.append(f"parameters of {TEXT[next(iter(parameters))]}")
    if "software" in claims:
        lines.append(claims["software"])
    if "camera" in claims:
        lines.append(f"camera {claims['camera']}")
    return "; ".join(lines)
