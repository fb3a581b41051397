"""A bundle as one ONNX file, preprocessing to calibration, whose answers are checked before it is written."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import onnx
from onnx import helper

from aigid.core import seeding
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, map_in_threads
from aigid.detectors import bundle
from aigid.features.backbones import BackboneSettings
from aigid.features.loaders.onnx import open_session
from aigid.images import Pixels
from aigid.metrics.classification import auroc, rank
from aigid.prediction import export_graph, verdict
from aigid.prediction.exported import Entry, ExportedDetector, Metadata, Precision, seal
from aigid.prediction.graph_builder import GraphBuilder, NotInGraphError, add_preprocessing, make_model, opset_of
from aigid.prediction.inspection import InspectedImage, inspect_batches
from aigid.prediction.predict import Predictor

TOLERANCE = 1e-4  # of P(generated)
MAX_BYTES = 2**31  # of a message of Protocol Buffers
SIZES = ((224, 224), (320, 240), (97, 301), (64, 48), (200, 700), (640, 480))  # height, width of images that are drawn


class Comparison(NamedTuple):
    """The fields of ``Metadata`` on the answers of bundle and graph, and the images that could not be read, by path."""

    parity: float
    num_images: int
    other_verdicts: int
    auroc: list[float]
    failed: dict[str, str]


def export(
    predictor: Predictor,
    path: Path,
    images: Sequence[Any] = (),
    precision: Precision = "float32",
    labels: Mapping[str, int] | None = None,
) -> tuple[Metadata, dict[str, str]]:
    """Write a bundle's graph, atomically, if its answers on the images are the bundle's.

    Return what the file says of itself, and why images could not be read, by path. Without ``images`` noise and
    gradients of ``SIZES`` are taken; ``labels``, 0 or 1 by path, give an AUROC. Where the graph's preprocessing is not
    close enough to Pillow's, the graph starts behind it. A lower ``precision`` is of the encoder's weights; what that
    changes is stated, and nothing refused. InputError names what of a bundle is not exported, or the difference.
    """
    backbone, reason = _backbone_of(predictor), ""
    encoder = export_graph.read_encoder(backbone)
    for entry in get_args(Entry):
        try:
            model = build(predictor, backbone, encoder, entry, precision)
        except NotInGraphError as error:
            reason = str(error)
            continue
        detector = ExportedDetector(open_session(path, model.SerializeToString(), "cpu"), entry, backbone.preprocess)
        batches = inspect_batches(images) if images else [drawn_images()]
        comparison = compare(predictor, detector, batches, labels)
        if comparison.parity <= TOLERANCE or precision != "float32":
            metadata = _describe(predictor, backbone, model, entry, comparison, precision)
            helper.set_model_props(model, metadata.to_props())
            with atomic_write(path) as part:
                part.write_bytes(seal(model.SerializeToString()))
            return metadata, comparison.failed
        reason = f"P(generated) differs by {comparison.parity:.2g} from the bundle's, more than {TOLERANCE:g}"
    raise InputError(f"{predictor.folder}: is not exported: {reason}")


def _backbone_of(predictor: Predictor) -> BackboneSettings:
    backbone, folder = predictor.scorer.backbone, predictor.folder
    if backbone is None:
        raise InputError(f"{folder}: detector {predictor.model.name}: is not exported; detectors of embeddings are")
    if not isinstance(backbone, BackboneSettings):
        raise InputError(f"{folder}: {len(backbone.parts)} backbones: are not exported; one is")
    if backbone.library != "onnx":
        raise InputError(f"{folder}: backbone {backbone.library} {backbone.model}: is not exported; those of ONNX are")
    return backbone


def build(
    predictor: Predictor, backbone: BackboneSettings, encoder: export_graph.Encoder, entry: Entry, precision: Precision
) -> onnx.ModelProto:
    """Return the model without metadata; InputError names the detector that has no graph."""
    g, size = GraphBuilder(), backbone.preprocess.size
    if entry == "image":
        pixels = add_preprocessing(g, "image", backbone.preprocess)
    else:
        pixels = g("Transpose", g("Squeeze", "image", [0]), perm=[2, 0, 1])
    embedding = export_graph.add_encoder(g, pixels, backbone, encoder, precision)
    score = export_graph.add_head(g, predictor.model.detector, embedding)
    g("Reshape", score, [1], output="score")
    if predictor.rule:
        probability = export_graph.add_calibration(g, predictor.rule.calibrator, score)
        g("Reshape", probability, [1], output="probability")
    shape = [1, "height", "width", 3] if entry == "image" else [1, size, size, 3]
    model = make_model(g, encoder.model, shape, ["score", "probability"] if predictor.rule else ["score"])
    if model.ByteSize() >= MAX_BYTES:
        raise InputError(f"{predictor.folder}: its graph of {model.ByteSize():,} bytes does not fit into one file")
    return model


def compare(
    predictor: Predictor,
    detector: ExportedDetector,
    batches: Iterable[Sequence[InspectedImage]],
    labels: Mapping[str, int] | None = None,
) -> Comparison:
    """Return the largest difference of P(generated), plain and calibrated, the number of other verdicts, and AUROC."""
    rule, parity, num, others = predictor.rule, 0.0, 0, 0
    rows: list[tuple[float, ...]] = []  # label, score of the bundle and of the file
    failed: dict[str, str] = {}
    for batch in batches:
        failed |= {image.path: f"{image.status}: {image.message}" for image in batch if image.status != OK}
        if not (readable := [image for image in batch if image.status == OK]):
            continue
        expected = predictor.scorer.score_once(readable, ("clean",), predictor.loader).values["clean"]
        pixels = [image.pixels for image in readable if image.pixels is not None]
        actual, *probabilities = np.array(list(map_in_threads(detector.run, pixels, 1))).T
        known = [(labels or {}).get(image.path) for image in readable]
        rows += [(label, *pair) for label, *pair in zip(known, expected, actual, strict=True) if label is not None]
        differences = [actual - expected, *([probabilities[0] - rule.calibrator(expected)] if rule else [])]
        if not np.isfinite(differences).all():
            raise InputError(f"{predictor.folder}: is not exported: an answer is no number")
        parity, num = max(parity, float(np.abs(differences).max())), num + len(readable)
        decisions = [[verdict.decide(score, rule).verdict for score in side.tolist()] for side in (expected, actual)]
        others += sum(before != after for before, after in zip(*decisions, strict=True))
    if not num:
        raise InputError("no image that can be read: nothing to compare the exported model on")
    truth, *sides = np.array(rows).T if rows else [np.zeros(0)]
    aurocs = [auroc(rank(truth, side)) for side in sides] if len(set(truth.tolist())) == 2 else []
    return Comparison(parity, num, others, aurocs, failed)


def drawn_images() -> list[InspectedImage]:
    """Return a gradient and noise of each of ``SIZES``, which are the same each time."""
    rng = seeding.numpy_generator("export", 0)
    images: list[Pixels] = []
    for height, width in SIZES:
        ramp = np.add.outer(np.linspace(0, 128, height), np.linspace(0, 127, width))[..., None]
        images.append((ramp + np.zeros(3)).astype(np.uint8))
        images.append(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
    return [InspectedImage("", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels) for pixels in images]


def _describe(
    predictor: Predictor,
    backbone: BackboneSettings,
    model: onnx.ModelProto,
    entry: Entry,
    measured: Comparison,
    precision: Precision,
) -> Metadata:
    rule, saved = predictor.rule, json.loads((predictor.folder / bundle.METADATA).read_text(encoding="utf-8"))
    point = predictor.operating_point
    return Metadata(
        version=version("aigid"),
        name=predictor.model.name,
        identity=predictor.model.identity,
        bundle_sha256=saved["sha256"],
        input=entry,
        precision=precision,
        preprocess=backbone.preprocess,
        opset=opset_of(model),
        threshold=point["threshold"],
        uncertain_between=point.get("uncertain_between", []),
        decisions=predictor.settings,
        rule=asdict(rule) if rule else None,
        origin=asdict(predictor.model.origin),
        **{name: value for name, value in measured._asdict().items() if name != "failed"},
    )
