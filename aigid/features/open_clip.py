"""CLIP towers through open_clip."""

from pathlib import Path

import open_clip
import torch
from torch import nn

from aigid.features import hub
from aigid.features.backbones import BackboneSettings


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower: normalised (B, 3, S, S) to its projection (B, D), not L2-normalised.

    ``weights`` is a file of open_clip's state dict, or a folder with ``open_clip_config.json`` as its
    ``push_to_hf_hub`` writes it.
    """
    if settings.config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = open_clip.CLIP(**settings.config)
    else:
        model = _pretrained(settings)
    return model.visual


def _pretrained(settings: BackboneSettings) -> nn.Module:
    local = settings.weights
    with hub.loading(local or f"{settings.model} {settings.pretrained}", local=local is not None):
        if local and Path(local).is_dir():
            return open_clip.create_model(f"local-dir:{local}", require_pretrained=True)
        return open_clip.create_model(settings.model, local or settings.pretrained, require_pretrained=True)
