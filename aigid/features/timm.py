"""Vision transformers through timm, whose attention has one layer for query, key and value, as DINOv2's own."""

from pathlib import Path

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from aigid.errors import InputError
from aigid.features import hub, weights
from aigid.features.backbones import BackboneSettings


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower: normalised (B, 3, S, S) to timm's pooled features (B, D), DINOv2's normalised class token.

    ``weights`` is a file of timm's state dict, at the model's own image size or at the settings'.
    """
    if settings.pool == "before_projection":
        raise InputError(f"{settings.model}: pool: before_projection: timm's have no projection; want own or mean")
    pool = {"global_pool": "avg", "fc_norm": False} if settings.pool == "mean" else {}
    if settings.weights is None and settings.config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return VisionTransformer(**settings.config, num_classes=0, **pool)
    how = {"num_classes": 0, "img_size": settings.preprocess.size} | pool
    if settings.weights is None:
        with hub.loading(settings.model, f"model.safetensors of timm/{settings.model}"):
            return timm.create_model(settings.model, pretrained=True, **how)
    path = Path(settings.weights)
    hub.require(path)
    with weights.reading(path):
        net = timm.create_model(settings.model, pretrained=False, **how)
        state = timm.models.vision_transformer.checkpoint_filter_fn(weights.read(path), net)
        state = {name: value for name, value in state.items() if not name.startswith("head.")}
        own = net.state_dict()
        wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
        weights.check(path, own.keys() - state.keys(), state.keys() - own.keys(), wrong)
        net.load_state_dict(state)
    return net
