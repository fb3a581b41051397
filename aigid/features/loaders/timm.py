"""Vision transformers through timm, whose attention has one layer for query, key and value, as DINOv2's own."""

from pathlib import Path

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower: normalised (B, 3, S, S) to timm's pooled features (B, D), DINOv2's normalised class token.

    ``weights`` is a file of timm's state dict, at the model's own image size or at the settings'.
    """
    if settings.pool == "before_projection":
        raise InputError(f"{settings.model}: pool: before_projection: timm's have no projection; want own or mean")
    if settings.weights is not None:
        return _local(settings, Path(settings.weights))
    if settings.config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return build(settings)
    with checkpoints.hub_errors(settings.model, f"model.safetensors of timm/{settings.model}"):
        return build(settings, pretrained=True)


def build(settings: BackboneSettings, pretrained: bool = False) -> nn.Module:
    """The architecture, with weights that torch draws, or with timm's own."""
    how = {"num_classes": 0} | ({"global_pool": "avg", "fc_norm": False} if settings.pool == "mean" else {})
    if settings.config is not None:
        return VisionTransformer(**settings.config, **how)
    return timm.create_model(settings.model, pretrained=pretrained, img_size=settings.preprocess.size, **how)


def _local(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        net = build(settings)
        state = timm.models.vision_transformer.checkpoint_filter_fn(checkpoints.read(path), net)
        state = {name: value for name, value in state.items() if not name.startswith("head.")}
        checkpoints.load_strict(path, state, checkpoints.shapes(net))
        net.load_state_dict(state)
    return net
