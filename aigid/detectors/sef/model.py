"""An expert: a frozen encoder with LoRA, and a linear classifier of its features."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features import checkpoints, lora, vit
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import load_encoder, output_width
from aigid.features.preprocess import Preprocess


class Expert(nn.Module):
    """Normalised images (B, 3, S, S) to features (B, D) and logits (B,)."""

    def __init__(self, encoder: nn.Module, preprocess: Preprocess, base: str) -> None:
        super().__init__()
        self.encoder, self.preprocess, self.base = encoder, preprocess, base
        self.head = nn.Linear(output_width(encoder, preprocess.size), 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        vit.freeze_batch_norms(self.encoder)  # the adapters are merged into a network of these statistics
        return self

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(pixels)
        return features, self.head(features).squeeze(1)


def base_settings(settings: ExpertSettings) -> BackboneSettings:
    """Return the settings of the encoder that all experts adapt."""
    result = backbone_settings(settings.backbone, {"weights": settings.weights, "dtype": "float32"})
    if not isinstance(result, BackboneSettings):
        raise InputError(f"sef.expert.backbone={settings.backbone!r}: want one encoder")
    return result


def build(settings: ExpertSettings, seed: int) -> Expert:
    """Return an untrained expert: its features are the base's, bit for bit."""
    base = base_settings(settings)
    encoder = load_encoder(base)
    sha256 = checkpoints.state_dict_hash(encoder)
    if settings.gradient_checkpointing:
        lora.enable_gradient_checkpointing(encoder)
    expert = Expert(lora.inject(encoder, settings.lora, seeding.derive_seed("sef lora", seed)), base.preprocess, sha256)
    draw = torch.Generator().manual_seed(seeding.derive_seed("sef head", seed))
    nn.init.normal_(expert.head.weight, std=0.02, generator=draw)
    nn.init.zeros_(expert.head.bias)
    if settings.head_bias == "uniform":
        bound = expert.head.in_features**-0.5
        nn.init.uniform_(expert.head.bias, -bound, bound, generator=draw)
    return expert


def save(expert: Expert, settings: ExpertSettings, path: Path) -> None:
    """Write the adapters and the head, without the encoder."""
    lora.save(expert.encoder, expert.base, settings.lora, path, expert.head.state_dict())


def load(settings: ExpertSettings, path: Path) -> Expert:
    """Return the expert that ``save`` wrote, unmerged; InputError where it belongs to another encoder."""
    base = base_settings(settings)
    encoder = load_encoder(base)
    sha256 = checkpoints.state_dict_hash(encoder)
    expert = Expert(lora.load(encoder, path), base.preprocess, sha256)
    expert.head.load_state_dict(lora.read_head(path))
    return expert.requires_grad_(False).eval()


def check(path: Path, width: int) -> None:
    """Raise InputError unless a file holds a classifier of features (N, width) and pairs of adapters of one rank."""
    rank, tensors = lora.read_settings(path).rank, checkpoints.header(path)
    shapes = {f"{lora.HEAD}weight": (1, width), f"{lora.HEAD}bias": (1,)}
    for name, tensor in tensors.items():
        layer, _, factor = name.rpartition(".")
        if factor in ("A", "B") and tensor.ndim == 2:
            inputs, outputs = (tensors.get(f"{layer}.{key}", tensor).shape[axis] for key, axis in (("A", -1), ("B", 0)))
            shapes |= {f"{layer}.A": (rank, inputs), f"{layer}.B": (outputs, rank)}
    checkpoints.load_strict(path, tensors, shapes)


def p_generated(path: Path, features: np.ndarray) -> np.ndarray:
    """Return P(generated) (N,) of a saved expert's features (N, D) by its own classifier."""
    head = lora.read_head(path)
    logits = features @ head["weight"][0].double().numpy() + float(head["bias"])
    return torch.from_numpy(logits).sigmoid().numpy()
