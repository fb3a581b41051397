"""Published linear heads on a frozen backbone, which become linear probes."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.detectors.bundle import Bundle, Provenance, is_random, weight_licence
from aigid.detectors.probe import LinearProbe
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.importers import ImportRequest

logger = logging.getLogger(__name__)


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


def import_linear(request: ImportRequest) -> Bundle:
    """Return a head of one or two classes on any backbone: one weight matrix and, where it has one, a bias.

    ``fake_labels`` names the class that means generated, 0 or 1; a head of one row gives the logit of class 1.
    """
    if request.weights is None or request.backbone is None:
        raise InputError("--weights, --backbone: name the file of the head, and the backbone that it belongs to")
    if request.fake_labels not in (("0",), ("1",)):
        given = ", ".join(request.fake_labels) or "none"
        raise InputError(f"--fake-label {given}: want the class that means generated, 0 or 1 (of one row: its logit's)")
    backbone = backbone_settings(request.backbone)
    assert isinstance(backbone, BackboneSettings), "a name or an address is of one"
    weight, bias = _one_matrix(request.weights)
    sign = 1 if request.fake_labels == ("1",) else -1
    w, b = (sign * (part[-1] - (part[0] if len(part) == 2 else 0)) for part in (weight, bias))
    section = backbone.model_dump(mode="json")
    licences = ["head: as its publisher states", weight_licence(section)]
    source = f"a linear head, {request.weights.name}, sha256 {sha256(request.weights)}"
    origin = Provenance([section], licences=licences, source=source, demonstration=is_random(section))
    settings = {"weights": request.weights.name, "fake_label": request.fake_labels[0], "normalize": request.normalize}
    return Bundle("probe", LinearProbe(w, float(b), {"normalize": request.normalize}), settings, [], origin)


def _one_matrix(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight (K, D) and bias (K,), K 1 or 2, float64, of a file; InputError where it holds anything else."""
    arrays = _read_arrays(path)
    shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
    weights = [value for value in arrays.values() if value.size > 2]
    biases = [value.reshape(-1) for value in arrays.values() if value.size <= 2]
    weight = np.atleast_2d(weights[0]) if len(weights) == 1 else np.empty((0, 0))
    weight = weight.T if weight.shape[1] <= 2 < weight.shape[0] else weight
    if weight.ndim != 2 or len(weight) not in (1, 2) or len(biases) > 1:
        raise InputError(f"weights {path}: holds {shapes or 'nothing'}; want a weight (1 or 2, D) and its bias alone")
    if not biases:
        logger.warning("weights %s: holds no bias; it counts as 0", path)
    bias = biases[0] if biases else np.zeros(len(weight))
    if bias.shape != (len(weight),):
        raise InputError(f"weights {path}: holds {shapes}; the bias is of {len(bias)} classes, not {len(weight)}")
    return weight, bias


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of ``.npz``, ``.npy``, ``.safetensors`` or torch's file, float64; nothing is unpickled."""
    checkpoints.require_file(path)
    if path.suffix not in (".npz", ".npy"):
        return {name: tensor.double().numpy() for name, tensor in checkpoints.read(path).items()}
    with checkpoints.checkpoint_errors(path):
        content = np.load(path, allow_pickle=False)
        arrays = {"array": content} if isinstance(content, np.ndarray) else dict(content)
        return {name: np.asarray(value, np.float64) for name, value in arrays.items()}


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
