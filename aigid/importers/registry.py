"""The importers by name, each a file of its own, imported when asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model

# Each is a function of a Request that gives the Model, whose detector the registry of detectors knows.
IMPORTERS = {
    "clip-cues": "aigid.importers.clip_cues:bring",
    "dda": "aigid.importers.dda:bring",
    "featdistill": "aigid.importers.featdistill:bring",
    "hf": "aigid.importers.hf:bring",
    "univfd": "aigid.importers.univfd:bring",
}


@dataclass(frozen=True)
class Request:
    """What the user says: a hub id or folder, a weights file or folder, the labels that mean generated, a backbone."""

    model: str | None = None
    weights: Path | None = None
    fake_labels: tuple[str, ...] = ()
    backbone: str | None = None


def find(name: str) -> Callable[[Request], Model]:
    """The importer of that name; InputError lists the known."""
    if name not in IMPORTERS:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(IMPORTERS)}")
    module, function = IMPORTERS[name].split(":")
    return getattr(import_module(module), function)
