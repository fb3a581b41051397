"""The detectors by name, imported when asked for."""

from importlib import import_module

from aigid.errors import InputError

DETECTORS = {
    "averaging": "aigid.detectors.fusion.detector:AveragedTowers",
    "concatenation": "aigid.detectors.fusion.detector:ConcatenatedTowers",
    "gate": "aigid.detectors.fusion.detector:GatedTowers",
    "gendet": "aigid.detectors.gendet.detector:GenDet",
    "knn": "aigid.detectors.knn:NearestNeighbours",
    "probe": "aigid.detectors.probe:LinearProbe",
}


def find(name: str) -> type:
    """The class, which does what `aigid.detectors.protocol.Detector` says; InputError that lists the known names."""
    if name not in DETECTORS:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(DETECTORS)}")
    module, attribute = DETECTORS[name].split(":")
    return getattr(import_module(module), attribute)
