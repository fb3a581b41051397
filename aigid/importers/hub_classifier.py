"""Image classifiers of the Hugging Face hub, or of a folder like one of its repositories."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import transformers
from huggingface_hub import snapshot_download
from PIL import Image
from torch import Tensor

from aigid.core.embeddings import OK
from aigid.core.errors import InputError, parse_json
from aigid.core.files import choose_device, device_name
from aigid.degradations.views import apply
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.protocol import BaseDetector, Scores
from aigid.detectors.samples import Floats, Samples
from aigid.features import checkpoints
from aigid.features.loaders.transformers import load_strict
from aigid.features.preprocess import scale_shorter
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.importers import ImportRequest

BATCH = 16
FOLDER = "classifier"  # in the bundle
CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
FILES = (CONFIG, PREPROCESSOR, WEIGHTS, f"{WEIGHTS}.index.json", "model-*.safetensors")  # all that is read
MULTI_LABEL = "multi_label_classification"
PROBLEM_TYPES = (None, "single_label_classification", MULTI_LABEL)


class HubClassifier(BaseDetector):
    """A model and its image processor, both of transformers, used as their own files say.

    P(generated) is what the fake labels get together of the softmax; of a model with one output, or of one for
    ``multi_label_classification``, whose classes do not exclude each other, the largest sigmoid of a fake label. No
    code of the repository is run.
    """

    def __init__(self, model: Any, processor: Any, fake_labels: tuple[str, ...]) -> None:
        self.processor, self.fake_labels = processor, fake_labels
        self.model = model.eval().requires_grad_(False).to(choose_device(device_name()))
        self.size = max(processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt")["pixel_values"].shape[-2:])
        labels = model.config.id2label
        self.fake = [int(number) for number, label in labels.items() if label in fake_labels]
        self.independent = len(labels) == 1 or model.config.problem_type == MULTI_LABEL

    @classmethod
    def from_source(cls, source: str, fake_labels: tuple[str, ...]) -> Self:
        """Load a folder or a hub's repository; InputError where it has no such label, or not all that is read."""
        folder = _local_folder(source)
        _check_files(folder)
        with checkpoints.checkpoint_errors(folder):
            model: Any = load_strict(transformers.AutoModelForImageClassification, folder, str(folder))
            processor = checkpoints.from_pretrained(transformers.AutoImageProcessor, str(folder))
            labels, problem = list(model.config.id2label.values()), model.config.problem_type
            if problem not in PROBLEM_TYPES:
                raise InputError(f"{source}: {CONFIG}: problem_type {problem!r}: its outputs are no classes")
            if unknown := [label for label in fake_labels if label not in labels]:
                raise InputError(f"--fake-label {unknown[0]!r}: {source} has the labels {', '.join(labels)}")
            if bad := [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]:
                raise InputError(f"weights {source}: {bad[0]} holds NaN or infinity")
            detector = cls(model, processor, fake_labels)
            if (outputs := detector.logits([np.zeros((64, 64, 3), np.uint8)]).shape[1]) != len(labels):
                raise InputError(f"{source}: {outputs} outputs, but {CONFIG} names the labels {', '.join(labels)}")
            return detector

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return P(generated) of files in views, ``BATCH`` images at a time."""
        paths, digests = (samples.table[name].tolist() for name in ("path", "sha256"))
        status, messages = np.full(len(paths), OK, object), dict[int, str]()
        values = {view: np.full(len(paths), np.nan) for view in views}
        for view, result in values.items():
            for start in range(0, len(paths), BATCH):
                images = {}
                for index in range(start, min(start + BATCH, len(paths))):
                    try:
                        known = samples.pixels.get(digests[index])
                        image = decode(samples.root / paths[index]) if known is None else known
                        image = apply(view, image, digests[index], samples.seed)[0]
                        scale_shorter(image.shape[1], image.shape[0], self.size)  # its processor has no limit
                        images[index] = image
                    except ImageError as error:
                        status[index], messages[index] = str(error.status), error.message
                if images:
                    result[list(images)] = self.p_generated(list(images.values()))
        return Scores(status, values, messages)

    @torch.inference_mode()
    def logits(self, images: list[np.ndarray]) -> Tensor:
        """Return the logits (N, K) float64 of images (H, W, 3) uint8."""
        inputs = self.processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
        return self.model(**inputs.to(self.model.device)).logits.double().cpu()

    def p_generated(self, images: list[np.ndarray]) -> Floats:
        """Return P(generated) (N,) float64 of images (H, W, 3) uint8."""
        logits = self.logits(images)
        if self.independent:
            return logits[:, self.fake].sigmoid().amax(dim=1).numpy()
        return logits.softmax(dim=1)[:, self.fake].sum(dim=1).clamp(max=1).numpy()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the folder ``classifier`` as transformers does."""
        self.model.save_pretrained(folder / FOLDER)
        self.processor.save_pretrained(folder / FOLDER)
        return {"fake_labels": list(self.fake_labels)}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        return cls.from_source(str(folder / FOLDER), tuple(state["fake_labels"]))


Detector = HubClassifier


def _local_folder(source: str) -> Path:
    """Return a folder as it is, or the files of a hub's repository (``NAME[@REVISION]``) that are read."""
    if Path(source).exists():
        return Path(source)
    name, _, revision = source.partition("@")
    with checkpoints.hub_errors(name, f"{CONFIG} and {WEIGHTS} of {name}"):
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))


def _check_files(folder: Path) -> None:
    """Raise InputError where a file is missing, no JSON, or names code."""
    config = _read_json(folder / CONFIG, "which says what the model is")
    checkpoints.refuse_code(config, folder / CONFIG)
    if not any((folder / name).is_file() for name in (WEIGHTS, f"{WEIGHTS}.index.json")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        why = f"; {pickled[0]} is a pickle, which is never read" if pickled else ""
        raise InputError(f"{folder}: holds no {WEIGHTS}{why}")
    if config.get("model_type") != "timm_wrapper":  # whose config.json has the preprocessing, too
        record = _read_json(folder / PREPROCESSOR, "which says how images are prepared for it")
        checkpoints.refuse_code(record, folder / PREPROCESSOR)


def _read_json(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: holds no {path.name}, {what}")
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: no JSON: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: a {type(record).__name__}, want an object")
    return record


def import_classifier(request: ImportRequest) -> Bundle:
    """Return the classifier, of which ``fake_labels`` name the classes that mean generated; its files are copied."""
    if request.model is None:
        raise InputError("name the model: a folder with config.json, or a repository of the hub")
    if not request.fake_labels:
        raise InputError("--fake-label: name the class that means generated")
    detector = HubClassifier.from_source(request.model, request.fake_labels)
    source = "a local folder" if Path(request.model).is_dir() else f"huggingface.co/{request.model}"
    origin = Provenance(licences=[f"weights: as {source} states them"], source=source)
    return Bundle("hub_classifier", detector, {"model": request.model}, [], origin)
