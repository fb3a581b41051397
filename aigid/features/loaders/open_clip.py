"""CLIP towers through open_clip."""

from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _find_checkpoint_in_dir
from torch import nn

from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings


def architecture(model: str) -> dict[str, Any]:
    """The configuration of an architecture that open_clip knows by name."""
    config = open_clip.get_model_config(model)
    if config is None:
        raise InputError(f"open_clip knows no model {model!r}")
    return config


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower: normalised (B, 3, S, S) to its projection (B, D), not L2-normalised.

    ``weights`` is a file of open_clip's state dict (``.safetensors``, ``.pt``, ``.bin``), or a folder with
    ``open_clip_config.json`` as its ``push_to_hf_hub`` writes it.
    """
    if settings.pool == "mean":
        raise InputError(f"{settings.model}: pool: mean is for transformers' towers; want own or before_projection")
    model = load_clip(settings)
    if settings.pool == "before_projection":
        model.visual.proj = None
    return model.visual


def load_clip(settings: BackboneSettings) -> nn.Module:
    """Both towers."""
    if settings.weights is not None:
        return _from_file(settings, Path(settings.weights))
    return _pretrained(settings) if settings.config is None else _from_config(settings)


def _from_config(settings: BackboneSettings) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return open_clip.CLIP(**settings.config)


def _pretrained(settings: BackboneSettings) -> nn.Module:
    known = open_clip.get_pretrained_cfg(settings.model, settings.pretrained or "") or {}
    wanted = (known.get("hf_hub") or known.get("url") or "").rstrip("/")
    with checkpoints.hub_errors(f"{settings.model} {settings.pretrained}", f"open_clip_model.safetensors of {wanted}"):
        return open_clip.create_model(settings.model, settings.pretrained, require_pretrained=True)


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    file = path
    with checkpoints.checkpoint_errors(path):
        if path.is_dir():
            model = open_clip.create_model(f"local-dir:{path}", load_weights=False)
            found = _find_checkpoint_in_dir(path)
            file = Path(found) if found else None
        elif settings.config is not None:
            model = _from_config(settings)
        else:
            model = open_clip.create_model(settings.model, load_weights=False)
    if file is None:
        raise InputError(f"weights {path}: holds no .safetensors, .bin or .pth file")
    if checkpoints.has_head(file):
        keys = model.visual.load_state_dict(checkpoints.strip_prefix(checkpoints.read(file)), strict=False)
        checkpoints.check(file, keys.missing_keys, keys.unexpected_keys)
        return model
    with checkpoints.checkpoint_errors(file):
        keys = open_clip.load_checkpoint(model, str(file), strict=False)
    if any(key.startswith("vision_model.") for key in keys.unexpected_keys):
        raise InputError(f"weights {file}: in transformers' format; name its folder, which holds config.json too")
    checkpoints.check(file, [key for key in keys.missing_keys if key.startswith("visual.")], keys.unexpected_keys)
    return model
