"""Image classifiers of the Hugging Face hub, or of a folder like one of its repositories."""

from pathlib import Path

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, Provenance
from aigid.importers.base import ImportRequest
from aigid.importers.hub_classifier import HubClassifier


def import_detector(request: ImportRequest) -> Bundle:
    """The classifier, of which ``fake_labels`` name the classes that mean generated; its files are copied."""
    if request.model is None:
        raise InputError("name the model: a folder with config.json, or a repository of the hub")
    if not request.fake_labels:
        raise InputError("--fake-label: name the class that means generated")
    detector = HubClassifier.from_source(request.model, request.fake_labels)
    where = "a local folder" if Path(request.model).is_dir() else f"huggingface.co/{request.model}"
    licences = [f"weights: as {where} states them"]
    return Bundle("hub_classifier", detector, {"model": request.model}, [], Provenance(licences=licences, source=where))
