"""Bundles that `aigid export` made one ONNX file of: read and run by ONNX Runtime alone."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import onnxruntime
from pydantic import Field, FiniteFloat

from aigid.core.embeddings import OK
from aigid.core.errors import InputError, parse_json
from aigid.core.files import map_in_threads
from aigid.core.params import Settings, validate
from aigid.degradations import views as degradations
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.protocol import BaseDetector, Scores
from aigid.detectors.samples import Samples
from aigid.features.loaders.onnx import choose_provider, open_session
from aigid.features.preprocess import Preprocess, resize_and_crop
from aigid.images import ImageError, Pixels
from aigid.metrics.calibration import Calibrator
from aigid.metrics.decisions import ConformalAbstainer, DecisionRule, EvaluationSettings, OperatingPoint

PREFIX = "aigid."
ZERO_DIGEST = "0" * 64  # stands for the file's digest while it is computed
DIGEST = re.compile(rb"aigid\.sha256\x12\x42\"([0-9a-f]{64})\"")  # as Protocol Buffers write it, in JSON's quotes
Entry = Literal["image", "square"]
Precision = Literal["float32", "float16", "int8"]


class Metadata(Settings):
    """The ``metadata_props`` of a file, each with ``PREFIX`` before its name and JSON as its value.

    ``input``: ``image`` takes (1, H, W, 3) uint8 RGB of any size; ``square`` takes it resized and cropped by
    ``preprocess``. ``rule`` is None where there is no calibration, and ``threshold`` cuts ``score``. ``parity`` is the
    largest difference of P(generated) to the bundle's on ``num_images`` images, before and after calibration, and
    ``other_verdicts`` the number of those that got another verdict; ``auroc`` is that of bundle and file where the
    images had labels of both classes. ``precision`` is that of the encoder's stored weights.
    """

    schema_version: Literal[1] = 1
    sha256: str = ZERO_DIGEST
    version: str
    name: str
    identity: str
    bundle_sha256: str
    input: Entry
    preprocess: Preprocess
    opset: int
    threshold: FiniteFloat
    uncertain_between: list[FiniteFloat]
    parity: Annotated[float, Field(ge=0)]
    num_images: int
    other_verdicts: int
    auroc: list[FiniteFloat] = Field(default_factory=list)
    precision: Precision = "float32"
    decisions: EvaluationSettings
    rule: dict[str, dict[str, Any]] | None
    origin: dict[str, Any]

    def to_props(self) -> dict[str, str]:
        """Return key and value of each."""
        return {PREFIX + name: json.dumps(value) for name, value in self.model_dump(mode="json").items()}


class ExportedDetector(BaseDetector):
    """Scores images by a graph with the outputs ``score`` and, where calibrated, ``probability``, (1,) float64 each."""

    def __init__(self, session: onnxruntime.InferenceSession, entry: Entry, preprocess: Preprocess) -> None:
        self.session, self.entry, self.preprocess = session, entry, preprocess

    def run(self, pixels: Pixels) -> list[float]:
        """Return the outputs for an image (H, W, 3) uint8; ImageError where it is too narrow to be resized."""
        square = resize_and_crop(pixels, self.preprocess, *([] if self.entry == "square" else [_no_pixels]))
        image = square if self.entry == "square" else pixels
        return [float(value[0]) for value in self.session.run(None, {"image": np.ascontiguousarray(image)[None]})]

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        def score(digest: str) -> list[float] | ImageError:
            try:
                pixels = samples.pixels[digest]
                viewed = (degradations.apply(view, pixels, digest, samples.seed)[0] for view in views)
                return [self.run(image)[0] for image in viewed]
            except ImageError as error:
                return error

        results = list(map_in_threads(score, samples.table["sha256"].tolist(), 1))
        failed = {row: result for row, result in enumerate(results) if isinstance(result, ImageError)}
        values = [[np.nan] * len(views) if isinstance(result, ImageError) else result for result in results]
        columns = np.array(values, np.float64).reshape(-1, len(views)).T.copy()
        status = np.array([str(failed[row].status) if row in failed else OK for row in range(len(results))], object)
        messages = {row: error.message for row, error in failed.items()}
        return Scores(status, dict(zip(views, columns, strict=True)), messages)

    def save(self, folder: Path) -> dict[str, Any]:
        raise InputError("a model that was exported is a file, and no bundle")

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        raise InputError("a model that was exported is a file, and no bundle")


def _no_pixels(image: Pixels, size: tuple[int, int], interpolation: str) -> Pixels:
    """Return an image of that size without memory: the graph resizes, and the size alone is checked."""
    return np.broadcast_to(np.uint8(0), (size[1], size[0], 3))


def seal(content: bytes) -> bytes:
    """Return a file's content with its own sha256, computed as if that were ``ZERO_DIGEST``, in its metadata."""
    return DIGEST.sub(lambda match: match[0].replace(match[1], digest_of(content)), content, count=1)


def digest_of(content: bytes) -> bytes:
    """Return the sha256 of a file's content whose digest is ``ZERO_DIGEST``."""
    return hashlib.sha256(content).hexdigest().encode()


def load(
    path: Path, settings: EvaluationSettings | None, weights: str | None
) -> tuple[Bundle, EvaluationSettings, DecisionRule | None]:
    """Return an exported model as a bundle, and how it decides.

    InputError where it is none, is not as it was written, or where other settings or weights are asked of it.
    """
    _require_unchanged(path)
    session = open_session(path, None, choose_provider())
    try:
        props = session.get_modelmeta().custom_metadata_map
        values = {key.removeprefix(PREFIX): parse_json(value) for key, value in props.items() if key.startswith(PREFIX)}
        metadata = validate(values, Metadata, str(path))
        origin, rule = Provenance(**metadata.origin), rule_of(metadata.rule)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: no model that this version of `aigid export` wrote: {error}") from None
    if weights is not None:
        raise InputError(f"--weights {weights}: {path} holds its own")
    if settings not in (None, EvaluationSettings(), metadata.decisions):
        raise InputError(f"{path}: --calibrate, --fpr and --alpha are those of its export")
    detector = ExportedDetector(session, metadata.input, metadata.preprocess)
    model = Bundle(metadata.name, detector, {}, [], origin, identity=metadata.identity)
    return model, metadata.decisions, rule


def _require_unchanged(path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if (match := DIGEST.search(content)) is None:
        raise InputError(f"{path}: no model that `aigid export` wrote")
    if digest_of(content[: match.start(1)] + ZERO_DIGEST.encode() + content[match.end(1) :]) != match[1]:
        raise InputError(f"{path}: not the file that was written: its sha256 is not the one in its metadata")


def rule_of(fields: dict[str, Any] | None) -> DecisionRule | None:
    """Return a decision rule from the fields of its parts."""
    if fields is None:
        return None
    parts = Calibrator(**fields["calibrator"]), OperatingPoint(**fields["operating_point"])
    return DecisionRule(*parts, ConformalAbstainer(**fields["abstainer"]))
