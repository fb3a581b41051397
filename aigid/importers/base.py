"""The importers by name: each module here that defines ``import_detector``, imported when it is wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle
from aigid.detectors.registry import IMPORTED_DETECTORS, modules


@dataclass(frozen=True)
class ImportRequest:
    """What the user says: a hub id or folder, a weights file or folder, the labels that mean generated, a backbone."""

    model: str | None = None
    weights: Path | None = None
    fake_labels: tuple[str, ...] = ()
    backbone: str | None = None


def get_importer(name: str) -> Callable[[ImportRequest], Bundle]:
    """Return the importer of that name, a function ``import_detector``; InputError lists the known."""
    known = {module.replace("_", "-"): path for module, path in modules(IMPORTED_DETECTORS, "import_detector").items()}
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(sorted(known))}")
    return import_module(known[name]).import_detector
