"""Encoders of timm: vision transformers, with attention as in DINOv2's own code, and convolutional networks."""

import inspect
import io
from contextlib import redirect_stdout
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.features import checkpoints, weights
from aigid.features.backbones import BackboneSettings

CROP_MODES = {"center": "shortest", "squash": "squash"}
CLASSIFIERS = ("head.", "classifier.", "fc.")  # of a network that is taken without


def load(settings: BackboneSettings) -> nn.Module:
    """Return the image encoder: normalized (B, 3, S, S) to timm's pooled features (B, D).

    These are DINOv2's class token, and the mean of DINOv3's patch tokens, where upstream takes the class token.
    ``weights`` is a file of timm's state dict or of the publisher's, at the model's own image size or at the settings'.
    """
    if settings.pool == "before_projection":
        raise InputError(f"{settings.model}: pool: before_projection: timm's have no projection; want own or mean")
    path = weights.path_of(settings)
    if path is not None:
        return _from_file(settings, Path(path))
    if settings.config is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return build(settings)
    with checkpoints.hub_errors(settings.model, f"model.safetensors of timm/{settings.model}"):
        return build(settings, pretrained=True)


def build(settings: BackboneSettings, pretrained: bool = False) -> nn.Module:
    """Return the network with random or timm's pretrained weights; InputError for a model that timm does not know."""
    options: dict[str, Any] = {"num_classes": 0}
    if settings.config is not None and not timm.is_model(settings.model):
        return VisionTransformer(**settings.config, **options)
    shape = architecture(settings) | (settings.config or {})
    network: nn.Module = timm.create_model(settings.model, pretrained=pretrained, **shape, **options)
    return network


def architecture(settings: BackboneSettings) -> dict[str, Any]:
    """Return the configuration by which ``build`` makes a model of timm for the settings' image size."""
    _require_known(settings.model)
    kind = inspect.signature(timm.model_entrypoint(settings.model)).return_annotation
    sized = isinstance(kind, type) and "img_size" in inspect.signature(kind).parameters
    return {"img_size": settings.preprocess.size} if sized else {}


def convert(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return a publisher's state dict by timm's names, its positions at the network's size; timm's own unchanged."""
    filter_ = getattr(import_module(type(network).__module__), "checkpoint_filter_fn", None)
    if filter_ is None:
        return state
    with redirect_stdout(io.StringIO()):  # it prints which biases it leaves out
        converted: dict[str, Tensor] = filter_(state, network)
    return converted


def preprocess_record(section: dict[str, Any]) -> dict[str, Any]:
    """Return timm's record of a model's preprocessing."""
    _require_known(section["model"])
    record = timm.get_pretrained_cfg(section["model"])
    if record is None:
        raise InputError(f"timm has no weights of {section['model']}")
    if record.crop_mode not in CROP_MODES:
        raise InputError(
            f"{section['model']}: crop_mode {record.crop_mode!r} is not known here; `preprocess` must say it"
        )
    return {
        "size": record.input_size[1],
        "resize": CROP_MODES[record.crop_mode],
        "crop_fraction": record.crop_pct,
        "interpolation": record.interpolation,
        "mean": record.mean,
        "std": record.std,
    }


def _require_known(model: str) -> None:
    if not timm.is_model(model):
        near = get_close_matches(model, timm.list_models() + timm.list_pretrained(), 5, 0.5)
        raise InputError(f"timm knows no model {model!r}; near: {', '.join(near) or 'none'}")


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        network = build(settings)
        state = checkpoints.strip_prefix(checkpoints.read(path))
        in_order = settings.pretrained in weights.WHEEL_FILES and settings.weights is None
        state = _in_order(state, network) if in_order else convert(state, network)
        shapes = checkpoints.shapes(network)
        state = {name: value for name, value in state.items() if name in shapes or not name.startswith(CLASSIFIERS)}
        checkpoints.load_strict(path, state, shapes)
        network.load_state_dict(state, strict=False)
    return network


def _in_order(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Name the tensors of another implementation of the same network, whose order is the same, as timm does."""
    names = [*checkpoints.shapes(network), "classifier.weight", "classifier.bias"]
    return dict(zip(names, state.values(), strict=True))
