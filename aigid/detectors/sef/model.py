"""An expert: a frozen tower with LoRA, and a linear classifier of its features."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features import checkpoints, lora
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import load_encoder
from aigid.features.preprocess import Preprocess


class Expert(nn.Module):
    """Normalised images (B, 3, S, S) to features (B, D) and logits (B,)."""

    def __init__(self, tower: nn.Module, how: Preprocess, base: str) -> None:
        super().__init__()
        self.tower, self.how, self.base = tower, how, base
        with torch.inference_mode():
            width = tower(torch.zeros(1, 3, how.size, how.size)).shape[1]
        self.head = nn.Linear(width, 1)

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self.head.weight.device

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        features = self.tower(pixels)
        return features, self.head(features).squeeze(1)


def base_settings(settings: ExpertSettings) -> BackboneSettings:
    """The tower that all experts adapt."""
    found = backbone_settings(settings.backbone, {"weights": settings.weights, "dtype": "float32"})
    if not isinstance(found, BackboneSettings):
        raise InputError(f"sef.expert.backbone={settings.backbone!r}: want one tower")
    return found


def build(settings: ExpertSettings, seed: int) -> Expert:
    """An untrained expert: its features are the base's, bit for bit."""
    how = base_settings(settings)
    tower = load_encoder(how)
    sha256 = checkpoints.state_dict_hash(tower)
    if settings.gradient_checkpointing:
        lora.lora_state_dict(tower)
    expert = Expert(lora.inject(tower, settings.lora, seeding.derive_seed("sef lora", seed)), how.preprocess, sha256)
    draw = torch.Generator().manual_seed(seeding.derive_seed("sef head", seed))
    nn.init.normal_(expert.head.weight, std=0.02, generator=draw)
    nn.init.zeros_(expert.head.bias)
    return expert


def save(expert: Expert, settings: ExpertSettings, path: Path) -> None:
    """Write the adapters and the head, without the tower."""
    lora.save(expert.tower, expert.base, settings.lora, path, expert.head.state_dict())


def load(settings: ExpertSettings, path: Path) -> Expert:
    """What ``save`` wrote, unmerged; InputError where it belongs to another tower."""
    how = base_settings(settings)
    tower = load_encoder(how)
    sha256 = checkpoints.state_dict_hash(tower)
    expert = Expert(lora.load(tower, path), how.preprocess, sha256)
    expert.head.load_state_dict(lora.read_head(path))
    return expert.requires_grad_(False).eval()


def p_generated(path: Path, features: np.ndarray) -> np.ndarray:
    """P(generated) (N,) of a saved expert's features (N, D) by its own classifier."""
    head = lora.read_head(path)
    logits = features @ head["weight"][0].double().numpy() + float(head["bias"])
    return torch.from_numpy(logits).sigmoid().numpy()
