"""Image classifiers of the Hugging Face hub, or of a folder like one of its repositories."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import transformers
from PIL import Image

from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.degradations.views import apply
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.protocol import BaseDetector, Scores
from aigid.detectors.samples import Floats, Samples
from aigid.features import checkpoints
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.importers.base import ImportRequest

BATCH = 16
FOLDER = "classifier"  # in the bundle


class HubClassifier(BaseDetector):
    """A model and its image processor, both of transformers; P(generated) is what its fake labels get.

    No code of the repository is run.
    """

    def __init__(self, model: Any, processor: Any, fake_labels: tuple[str, ...]) -> None:
        self.processor, self.fake_labels = processor, fake_labels
        self.model = model.eval().requires_grad_(False).to(choose_device(device_name()))

    @classmethod
    def from_source(cls, source: str, fake_labels: tuple[str, ...]) -> Self:
        """Load a folder or a hub's repository; InputError where it has no such label, or not all weights."""
        kind: Any = transformers.AutoModelForImageClassification
        processors: Any = transformers.AutoImageProcessor
        name = f"config.json and model.safetensors of {source}"
        with checkpoints.hub_errors(source, name):
            model, loading_info = kind.from_pretrained(source, use_safetensors=True, output_loading_info=True)
            processor = processors.from_pretrained(source)
        checkpoints.check(source, loading_info["missing_keys"], loading_info["unexpected_keys"])
        known = list(model.config.id2label.values())
        if unknown := [label for label in fake_labels if label not in known]:
            raise InputError(f"--fake-label {unknown[0]!r}: {source} has the labels {', '.join(known)}")
        return cls(model, processor, fake_labels)

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
                        images[index] = apply(view, image, digests[index], samples.seed)[0]
                    except ImageError as error:
                        status[index], messages[index] = str(error.status), error.message
                if images:
                    result[list(images)] = self.p_generated(list(images.values()))
        return Scores(status, values, messages)

    @torch.inference_mode()
    def p_generated(self, images: list[np.ndarray]) -> Floats:
        """Return P(generated) (N,) float64 of images (H, W, 3) uint8."""
        inputs = self.processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
        logits = self.model(**inputs.to(self.model.device)).logits.double()
        fake = [number for number, label in self.model.config.id2label.items() if label in self.fake_labels]
        scores: Floats = logits.softmax(dim=1)[:, fake].sum(dim=1).clamp(0, 1).cpu().numpy()
        return scores

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the folder ``classifier`` as transformers does."""
        self.model.save_pretrained(folder / FOLDER)
        self.processor.save_pretrained(folder / FOLDER)
        return {"fake_labels": list(self.fake_labels)}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        return cls.from_source(str(folder / FOLDER), tuple(state["fake_labels"]))


Detector = HubClassifier


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
