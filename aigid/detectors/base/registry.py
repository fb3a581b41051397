"""The detectors by name, imported when asked for."""

from importlib import import_module

from aigid.base.errors import InputError

DETECTORS = {
    "averaging": "aigid.detectors.fusion.detector:AveragedTowers",
    "concatenation": "aigid.detectors.fusion.detector:ConcatenatedTowers",
    "gate": "aigid.detectors.fusion.detector:GatedTowers",
    "gendet": "aigid.detectors.gendet.detector:GenDet",
    "knn": "aigid.detectors.knn:NearestNeighbours",
    "occ": "aigid.detectors.occ.detector:OccClip",
    "probe": "aigid.detectors.probe:LinearProbe",
    "svm": "aigid.detectors.svm.detector:KernelSvm",
}

# Detectors that train and score from images, by stages of their own; they meet the others in the scores file.
IMAGE_DETECTORS = {
    "aeroblade": "aigid.detectors.aeroblade.detector:Aeroblade",
    "cnn": "aigid.detectors.cnn.detector:Cnn",
    "featdistill": "aigid.detectors.featdistill.detector:FeatDistill",
    "sef": "aigid.detectors.sef.detector:Sef",
}
IMPORTED = {  # never trained here
    "dda": "aigid.importers.dda:Dda",
    "hub_classifier": "aigid.importers.hub_classifier:HubClassifier",
}
JUDGED = (*DETECTORS, *IMAGE_DETECTORS)


def find(name: str) -> type:
    """The class, a `base.protocol.Detector`; InputError that lists the known names."""
    known = DETECTORS | IMAGE_DETECTORS | IMPORTED
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(known)}")
    module, attribute = known[name].split(":")
    return getattr(import_module(module), attribute)
