"""Detectors of generated images, one module or folder each, found by name and imported when they are wanted.

``aigid.detectors.<name>``, or its module ``detector`` where it is a package, binds ``Detector``; so does
``aigid.importers.<name>`` for a detector that is never trained here.
"""

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules, resolve_name
from typing import TYPE_CHECKING

from aigid.core.errors import InputError
from aigid.core.params import Settings

if TYPE_CHECKING:
    from aigid.detectors.protocol import BaseDetector

TRAINED, IMPORTED_DETECTORS = "aigid.detectors", "aigid.importers"
ALIASES = {  # several detectors of one module
    "averaging": "aigid.detectors.gate:AverageFusion",
    "concatenation": "aigid.detectors.gate:ConcatenationFusion",
    "gate": "aigid.detectors.gate:GatedFusion",
}


def names() -> list[str]:
    """Return the names of all detectors that are trained here, sorted."""
    return sorted({*ALIASES, *modules(TRAINED, "Detector")})


@cache
def modules(package: str, attribute: str) -> dict[str, str]:
    """Return the modules of a package that bind ``attribute`` at their top level, by name; imports none of them."""
    bound = re.compile(rf"^(?:class|def) {attribute}\b|^{attribute} = ", re.MULTILINE)
    spec, result = find_spec(package), {}
    for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
        for module in iter_modules([str(folder)]):
            path = f"{module.name}/detector.py" if module.ispkg else f"{module.name}.py"
            if (folder / path).is_file() and bound.search((folder / path).read_text(encoding="utf-8")):
                result[module.name] = f"{package}.{path.removesuffix('.py').replace('/', '.')}"
    return result


def get_detector(name: str) -> "type[BaseDetector]":
    """Return a detector's class; InputError that lists the known names."""
    detector: type[BaseDetector] = resolve_name(locate(name))
    return detector


def settings_of(name: str) -> type[Settings]:
    """Return the settings of a detector, those of ``<package>.settings`` without importing the detector itself."""
    module = locate(name).partition(":")[0]
    light = f"{module.removesuffix('.detector')}.settings"
    if module.endswith(".detector") and find_spec(light):
        settings: type[Settings] = import_module(light).DetectorSettings
        return settings
    return get_detector(name).Settings


def locate(name: str) -> str:
    """Return ``module:class`` of a detector; InputError that lists the known names."""
    classes = modules(TRAINED, "Detector") | modules(IMPORTED_DETECTORS, "Detector")
    known = {key: f"{module}:Detector" for key, module in classes.items()} | ALIASES
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
