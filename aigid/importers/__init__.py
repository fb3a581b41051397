"""Importers of published detectors by name: each module that defines ``import_detector``, and the aliases."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from aigid.core.errors import InputError
from aigid.detectors import IMPORTED_DETECTORS, modules
from aigid.detectors.bundle import Bundle

ALIASES = {  # modules with several importers, or of a detector with another name
    "clip-cues": "aigid.importers.linear:CLIP_CUES.import_detector",
    "linear": "aigid.importers.linear:import_linear",
    "hf": "aigid.importers.hub_classifier:import_classifier",
    "univfd": "aigid.importers.linear:UNIVFD.import_detector",
}


@dataclass(frozen=True)
class ImportRequest:
    """The options of `aigid import`: MODEL, --weights, --fake-label, --backbone and --normalize."""

    model: str | None = None
    weights: Path | None = None
    fake_labels: tuple[str, ...] = ()
    backbone: str | None = None
    normalize: bool = False


def get_importer(name: str) -> Callable[[ImportRequest], Bundle]:
    """Return the importer of that name, a function ``import_detector``; InputError lists the known."""
    by_module = modules(IMPORTED_DETECTORS, "import_detector")
    known = ALIASES | {module.replace("_", "-"): f"{path}:import_detector" for module, path in by_module.items()}
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(sorted(known))}")
    importer: Callable[[ImportRequest], Bundle] = resolve_name(known[name])
    return importer
