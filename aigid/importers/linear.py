"""A published linear head on a frozen backbone becomes a linear probe."""

from pathlib import Path

import numpy as np
from torch import Tensor

from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.base.origin import Origin
from aigid.detectors.probe import LinearProbe
from aigid.features import hub, weights
from aigid.features.backbones import BackboneSettings, resolve
from aigid.importers.registry import Request


def head(path: Path | None, what: str, prefix: str, width: int) -> LinearProbe:
    """P(generated) = sigmoid(w x + b) by the tensors ``<prefix>weight`` (1, ``width``) and ``<prefix>bias`` (1,)."""
    if path is None:
        raise InputError(f"--weights: name {what}")
    hub.require(path)
    state = weights.read(path)
    weights.require(path, state, shapes(prefix, width))
    return LinearProbe(*numbers(state, prefix), {})


def shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    """Of a head's tensors, by name."""
    return {f"{prefix}weight": (1, width), f"{prefix}bias": (1,)}


def numbers(state: dict[str, Tensor], prefix: str) -> tuple[np.ndarray, float]:
    """w (D,) float64 and b."""
    return state[f"{prefix}weight"][0].double().numpy(), float(state[f"{prefix}bias"])


def backbone(asked: str | None, published: BackboneSettings) -> BackboneSettings:
    """The backbone as published, or the ``asked`` one, if it is the same tower (but for its preprocessing)."""
    if asked is None:
        return published
    settings, same = resolve(asked), ("library", "model", "pool")
    wrong = [key for key in same if getattr(settings, key, None) != getattr(published, key)]
    if wrong:
        told = ", ".join(f"{key} {getattr(settings, key, None)}" for key in wrong)
        raise InputError(f"--backbone {asked}: {told}; this head belongs to {published.model}, pool {published.pool}")
    return settings


def bundle(
    probe: LinearProbe, request: Request, published: BackboneSettings, source: str, licences: list[str]
) -> Model:
    """A probe that nobody here trained: no validation images, no fingerprint but the backbone's settings."""
    origin = Origin([backbone(request.backbone, published).model_dump(mode="json")], licences=licences, source=source)
    return Model("probe", probe, {"weights": request.weights.name}, [], origin)
