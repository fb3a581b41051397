"""An image classifier of transformers as a detector: P(generated) is what its fake labels get."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
import transformers
from PIL import Image

from aigid.base.errors import InputError
from aigid.base.files import device_name
from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode
from aigid.degrade import views
from aigid.device import choose_device
from aigid.features import hub, weights
from aigid.store import OK

BATCH = 16
FOLDER = "classifier"  # in the bundle


class HubClassifier:
    """A model and its image processor, both of transformers; no code of the repository is run."""

    def __init__(self, model: Any, processor: Any, fake_labels: tuple[str, ...]) -> None:
        self.processor, self.fake_labels = processor, fake_labels
        self.model = model.eval().requires_grad_(False).to(choose_device(device_name()))

    @classmethod
    def from_source(cls, source: str, fake_labels: tuple[str, ...]) -> Self:
        """From a folder or a hub's repository; InputError where it has no such label, or not all weights."""
        kind, name = transformers.AutoModelForImageClassification, f"config.json and model.safetensors of {source}"
        with hub.loading(source, name):
            model, found = kind.from_pretrained(source, use_safetensors=True, output_loading_info=True)
            processor = transformers.AutoImageProcessor.from_pretrained(source)
        weights.check(source, found["missing_keys"], found["unexpected_keys"])
        known = list(model.config.id2label.values())
        if unknown := [label for label in fake_labels if label not in known]:
            raise InputError(f"--fake-label {unknown[0]!r}: {source} has the labels {', '.join(known)}")
        return cls(model, processor, fake_labels)

    @torch.inference_mode()
    def score(self, images: list[np.ndarray]) -> np.ndarray:
        """Images (H, W, 3) uint8 to (N,) float64: P(generated)."""
        inputs = self.processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
        logits = self.model(**inputs.to(self.model.device)).logits.double()
        fake = [number for number, label in self.model.config.id2label.items() if label in self.fake_labels]
        return logits.softmax(dim=1)[:, fake].sum(dim=1).clamp(0, 1).cpu().numpy()

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the folder ``classifier`` as transformers does."""
        self.model.save_pretrained(folder / FOLDER)
        self.processor.save_pretrained(folder / FOLDER)
        return {"fake_labels": list(self.fake_labels)}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        return cls.from_source(str(folder / FOLDER), tuple(facts["fake_labels"]))


Detector = HubClassifier


class Predictor:
    """Scores of files in a view."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.detector, self.seed = model.detector, model.origin.seed

    def __call__(self, images: pd.DataFrame, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Status (N,) and scores (N,), NaN where an image cannot be read."""
        status, found = np.full(len(images), OK, object), np.full(len(images), np.nan)
        for start in range(0, len(images), BATCH):
            seen = {}
            for place in range(start, min(start + BATCH, len(images))):
                row = images.iloc[place]
                try:
                    seen[place] = views.apply(view, decode(row["path"]), row["sha256"], self.seed)[0]
                except ImageError as error:
                    status[place] = str(error.status)
            if seen:
                found[list(seen)] = self.detector.score(list(seen.values()))
        return status, found
