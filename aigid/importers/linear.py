"""A published linear head on a frozen backbone becomes a linear probe."""

from pathlib import Path

import numpy as np
from torch import Tensor

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.probe import LinearProbe
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.importers.base import ImportRequest


def head(path: Path | None, what: str, prefix: str, width: int) -> LinearProbe:
    """P(generated) = sigmoid(w x + b) by the tensors ``<prefix>weight`` (1, ``width``) and ``<prefix>bias`` (1,)."""
    if path is None:
        raise InputError(f"--weights: name {what}")
    checkpoints.require_file(path)
    state = checkpoints.read(path)
    checkpoints.load_strict(path, state, shapes(prefix, width))
    return LinearProbe(*load_numbers(state, prefix), {})


def shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    """Of a head's tensors, by name."""
    return {f"{prefix}weight": (1, width), f"{prefix}bias": (1,)}


def load_numbers(state: dict[str, Tensor], prefix: str) -> tuple[np.ndarray, float]:
    """w (D,) float64 and b."""
    return state[f"{prefix}weight"][0].double().numpy(), float(state[f"{prefix}bias"])


def backbone(asked: str | None, published: BackboneSettings) -> BackboneSettings:
    """The backbone as published, or the ``asked`` one, if it is the same tower (but for its preprocessing)."""
    if asked is None:
        return published
    settings, same = backbone_settings(asked), ("library", "model", "pool")
    wrong = [key for key in same if getattr(settings, key, None) != getattr(published, key)]
    if wrong:
        told = ", ".join(f"{key} {getattr(settings, key, None)}" for key in wrong)
        raise InputError(f"--backbone {asked}: {told}; this head belongs to {published.model}, pool {published.pool}")
    return settings


def write_bundle(
    probe: LinearProbe, request: ImportRequest, published: BackboneSettings, source: str, licences: list[str]
) -> Bundle:
    """A probe that nobody here trained: no validation images, no fingerprint but the backbone's settings."""
    origin = Provenance(
        [backbone(request.backbone, published).model_dump(mode="json")], licences=licences, source=source
    )
    return Bundle("probe", probe, {"weights": request.weights.name}, [], origin)
