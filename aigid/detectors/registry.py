"""The detectors by name, imported when asked for."""

from importlib import import_module

from aigid.errors import InputError

DETECTORS = {"knn": "aigid.detectors.knn:NearestNeighbours", "probe": "aigid.detectors.probe:LinearProbe"}

# Detectors that train and score from images, by stages of their own; they meet the others in the scores file.
IMAGE_DETECTORS = {"cnn": "aigid.detectors.cnn.detector:Cnn"}
JUDGED = (*DETECTORS, *IMAGE_DETECTORS)


def find(name: str) -> type:
    """The class, which does what `aigid.detectors.protocol.Detector` says; InputError that lists the known names."""
    if name not in JUDGED:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(JUDGED)}")
    module, attribute = (DETECTORS | IMAGE_DETECTORS)[name].split(":")
    return getattr(import_module(module), attribute)
