"""Vision transformers through timm, whose attention has one layer for query, key and value, as in DINOv2's own code."""

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings


def load(settings: BackboneSettings) -> nn.Module:
    """Return the image encoder: normalized (B, 3, S, S) to timm's pooled features (B, D), DINOv2's class token.

    ``weights`` is a file of timm's state dict, at the model's own image size or at the settings'.
    """
    if settings.pool == "before_projection":
        raise InputError(f"{settings.model}: pool: before_projection: timm's have no projection; want own or mean")
    if settings.weights is not None:
        return _from_file(settings, Path(settings.weights))
    if settings.config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return build(settings)
    with checkpoints.hub_errors(settings.model, f"model.safetensors of timm/{settings.model}"):
        return build(settings, pretrained=True)


def build(settings: BackboneSettings, pretrained: bool = False) -> nn.Module:
    """Return the network with random or timm's pretrained weights."""
    options: dict[str, Any] = {"num_classes": 0}
    if settings.pool == "mean":
        options |= {"global_pool": "avg", "fc_norm": False}
    if settings.config is not None:
        return VisionTransformer(**settings.config, **options)
    options |= {"pretrained": pretrained, "img_size": settings.preprocess.size}
    return timm.create_model(settings.model, **options)


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        network = build(settings)
        if not isinstance(network, VisionTransformer):
            raise InputError(f"weights {path}: {settings.model} is no vision transformer of timm")
        state = checkpoint_filter_fn(checkpoints.read(path), network)
        state = {name: value for name, value in state.items() if not name.startswith("head.")}
        checkpoints.load_strict(path, state, checkpoints.shapes(network))
        network.load_state_dict(state)
    return network
