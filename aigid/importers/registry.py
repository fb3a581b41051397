"""The importers by name: each module here that defines ``bring``, imported when it is wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.base.registry import IMPORTED, modules


@dataclass(frozen=True)
class Request:
    """What the user says: a hub id or folder, a weights file or folder, the labels that mean generated, a backbone."""

    model: str | None = None
    weights: Path | None = None
    fake_labels: tuple[str, ...] = ()
    backbone: str | None = None


def find(name: str) -> Callable[[Request], Model]:
    """Return the importer of that name, a function ``bring``; InputError lists the known."""
    known = {module.replace("_", "-"): path for module, path in modules(IMPORTED, "bring").items()}
    if name not in known:
        raise InputError(f"unknown detector {name!r}; known: {', '.join(sorted(known))}")
    return import_module(known[name]).bring
