"""The detectors by name, found by convention and imported when they are wanted.

``aigid.detectors.<name>``, or its module ``detector`` where it is a package, binds ``Detector``; so does
``aigid.importers.<name>`` for a detector that is never trained here.
"""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from aigid.core.errors import InputError

TRAINED, IMPORTED_DETECTORS = "aigid.detectors", "aigid.importers"
ALIASES = {  # several detectors of one module
    "averaging": "aigid.detectors.gate.detector:AverageFusion",
    "concatenation": "aigid.detectors.gate.detector:ConcatenationFusion",
    "gate": "aigid.detectors.gate.detector:GatedFusion",
}


def names() -> list[str]:
    """Return the names of all detectors that are trained here, sorted."""
    return sorted({*ALIASES, *modules(TRAINED, "Detector")})


def modules(package: str, attribute: str) -> dict[str, str]:
    """Return the modules of a package that bind ``attribute`` at their top level, by name; imports none of them."""
    bound = re.compile(rf"^(?:class|def) {attribute}\b(?!\(Protocol)|^{attribute} = ", re.MULTILINE)
    result = {}
    for folder in map(Path, find_spec(package).submodule_search_locations):
        for module in iter_modules([str(folder)]):
            path = f"{module.name}/detector.py" if module.ispkg else f"{module.name}.py"
            if (folder / path).is_file() and bound.search((folder / path).read_text(encoding="utf-8")):
                result[module.name] = f"{package}.{path.removesuffix('.py').replace('/', '.')}"
    return result


def get_detector(name: str) -> type:
    """Return the class, a `base.protocol.Detector`; InputError that lists the known names."""
    module, _, attribute = locate(name).partition(":")
    return getattr(import_module(module), attribute)


def settings_of(name: str) -> type:
    """Return the settings of a detector, those of ``<package>.settings`` without importing the detector itself."""
    module = locate(name).partition(":")[0]
    light = f"{module.rpartition('.')[0]}.settings"
    if module.endswith(".detector") and find_spec(light):
        return getattr(import_module(light), "DetectorSettings", None) or get_detector(name).Settings
    return get_detector(name).Settings


def locate(name: str) -> str:
    """Return ``module:class`` of a detector; InputError that lists the known names."""
    classes = modules(TRAINED, "Detector") | modules(IMPORTED_DETECTORS, "Detector")
    known = {key: f"{module}:Detector" for key, module in classes.items()} | ALIASES
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
