"""Published linear heads on a frozen backbone, which become linear probes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.probe import LinearProbe
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.importers.base import ImportRequest


@dataclass(frozen=True)
class LinearHead:
    """P(generated) = sigmoid(w x + b) by the tensors ``<prefix>weight`` (1, ``width``) and ``<prefix>bias`` (1,)."""

    source: str
    licences: list[str]
    weights_file: str  # what --weights names
    prefix: str
    width: int
    backbone: str
    changes: dict[str, Any] = field(default_factory=dict)  # of the backbone: the authors' own preprocessing

    def load(self, path: Path) -> LinearProbe:
        """Return the probe; InputError where the file holds anything else."""
        checkpoints.require_file(path)
        state = checkpoints.read(path)
        checkpoints.load_strict(path, state, shapes(self.prefix, self.width))
        return LinearProbe(*load_numbers(state, self.prefix), {})

    def import_detector(self, request: ImportRequest) -> Bundle:
        """Return a bundle that nobody here trained: no validation images, no fingerprint but the backbone's."""
        if request.weights is None:
            raise InputError(f"--weights: name {self.weights_file}")
        backbone = requested_backbone(request.backbone, published_backbone(self.backbone, self.changes))
        probe = self.load(request.weights)
        origin = Provenance([backbone.model_dump(mode="json")], licences=self.licences, source=self.source)
        return Bundle("probe", probe, {"weights": request.weights.name}, [], origin)


# arXiv 2602.12381: before CLIP's projection; the shorter side to 336 px bilinearly, the center cut out
CLIP_CUES = LinearHead(
    source="clip-cues, a linear probe (marco-willi/clip-cues)",
    licences=["head: MIT", "training data: as its authors state for each checkpoint", "weights: OpenAI CLIP, MIT"],
    weights_file="one of data/checkpoints/linear_probe_*.ckpt of its repository",
    prefix="model.classification_head.fc.",
    width=1024,
    backbone="clip_vit_l14_336_before_projection",
    changes={"preprocess": {"size": 336, "interpolation": "bilinear"}},
)
# Ojha et al., CVPR 2023: after CLIP's projection; the center 224 px, unscaled, as in validate.py
UNIVFD = LinearHead(
    source="UniversalFakeDetect, Ojha et al. 2023 (WisconsinAIVision/UniversalFakeDetect)",
    licences=[
        "head: MIT",
        "trained on ForenSynths' ProGAN and LSUN images: CC BY-NC-SA 4.0",
        "weights: OpenAI CLIP, MIT",
    ],
    weights_file="pretrained_weights/fc_weights.pth of its repository",
    prefix="",
    width=768,
    backbone="clip_vit_l14",
    changes={"preprocess": {"size": 224, "resize": "none"}},
)


def shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a head's tensors by name."""
    return {f"{prefix}weight": (1, width), f"{prefix}bias": (1,)}


def load_numbers(state: Mapping[str, Tensor], prefix: str) -> tuple[np.ndarray, float]:
    """Return w (D,) float64 and b."""
    return state[f"{prefix}weight"][0].double().numpy(), float(state[f"{prefix}bias"])


def published_backbone(name: str, changes: dict[str, Any]) -> BackboneSettings:
    """Return the backbone of a published head as its authors feed it."""
    settings = backbone_settings(name, changes)
    assert isinstance(settings, BackboneSettings)
    return settings


def requested_backbone(requested: str | None, published: BackboneSettings) -> BackboneSettings:
    """Return the backbone as published, or the requested one if it differs in its preprocessing alone."""
    if requested is None:
        return published
    settings = backbone_settings(requested)
    wrong = [key for key in ("library", "model", "pool") if getattr(settings, key, None) != getattr(published, key)]
    if wrong or not isinstance(settings, BackboneSettings):
        differences = ", ".join(f"{key} {getattr(settings, key, None)}" for key in wrong)
        belongs = f"this head belongs to {published.model}, pool {published.pool}"
        raise InputError(f"--backbone {requested}: {differences}; {belongs}")
    return settings
