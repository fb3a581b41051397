"""Image encoders of CLIP, DINOv2 and SigLIP through transformers."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.features import checkpoints, weights
from aigid.features.backbones import BackboneSettings
from aigid.features.preprocess import parse_record

VISION_MODELS = {  # model_type: (class of the image encoder, its output that is the embedding)
    "clip": ("CLIPVisionModelWithProjection", "image_embeds"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds"),
    "dinov2": ("Dinov2Model", "pooler_output"),
    "siglip": ("SiglipVisionModel", "pooler_output"),
    "siglip_vision_model": ("SiglipVisionModel", "pooler_output"),
}
CLIP_VISION = ("CLIPVisionModel", "pooler_output")  # before its projection
NON_VISION_PREFIXES = ("text_model.", "text_projection.", "visual_projection.", "logit_")  # of a whole CLIP or SigLIP


def _vision_config(model_type: str, width: int, size: int, heads: int, layers: int, **other: int) -> dict[str, Any]:
    shape = {"hidden_size": width, "image_size": size, "num_attention_heads": heads, "num_hidden_layers": layers}
    return {"model_type": model_type, "patch_size": 14} | shape | other


ARCHITECTURES: dict[str, dict[str, Any]] = {  # the published configurations, for checkpoints that come as one file
    "facebook/dinov2-large": _vision_config("dinov2", 1024, 518, 16, 24),
    "openai/clip-vit-base-patch16": {  # transformers' defaults for all else
        "model_type": "clip_vision_model",
        "patch_size": 16,
    },
    "openai/clip-vit-large-patch14": _vision_config(
        "clip_vision_model", 1024, 224, 16, 24, intermediate_size=4096, projection_dim=768
    ),
    "google/siglip-base-patch16-224": {"model_type": "siglip_vision_model"},
    "google/siglip-so400m-patch14-384": _vision_config(
        "siglip_vision_model", 1152, 384, 16, 27, intermediate_size=4304
    ),
}


class PooledModel(nn.Module):
    """A transformers model's embedding: normalized (B, 3, S, S) to (B, D), not L2-normalized."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        embeddings: Tensor = self.model(pixel_values=pixels)[self.output]
        return embeddings


def architecture(model: str) -> dict[str, Any]:
    """Return the published configuration of a repository's image encoder; InputError that lists the known."""
    if model not in ARCHITECTURES:
        raise InputError(f"no configuration of {model!r} at hand; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[model]


def load(settings: BackboneSettings) -> nn.Module:
    """Return the image encoder.

    ``weights`` is a folder with ``config.json`` and ``model.safetensors``, or one file (``.safetensors``, ``.pt``,
    ``.bin``) that has ``config.json`` in its folder or belongs to ``config`` or to a known architecture.
    """
    path = weights.path_of(settings)
    if path is None and settings.config is not None:
        config = transformers.AutoConfig.for_model(**settings.config)
        kind, output = _model_class(config.model_type, settings.pool)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return PooledModel(kind(config), output)
    if path is not None:
        return _from_file(settings, Path(path))
    files = f"config.json and model.safetensors of {settings.model}"
    with checkpoints.hub_errors(settings.model, files + (f" at {settings.revision}" if settings.revision else "")):
        return _from_folder(settings.model, settings)


def _model_class(model_type: str, pool: str) -> tuple[Any, str]:
    if model_type not in VISION_MODELS:
        raise InputError(f"transformers model_type {model_type!r}; known: {', '.join(VISION_MODELS)}")
    name, output = VISION_MODELS[model_type]
    if pool == "before_projection":
        if output != "image_embeds":
            raise InputError(f"pool: before_projection: {model_type} has no projection; want own or mean")
        name, output = CLIP_VISION
    return getattr(transformers, name), output


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    if path.is_dir():
        with checkpoints.checkpoint_errors(path):
            return _from_folder(str(path), settings)
    if settings.config is None and (path.parent / "config.json").exists():
        config = transformers.AutoConfig.from_pretrained(path.parent)
    else:
        config = transformers.AutoConfig.for_model(**settings.config or architecture(settings.model))
    kind, output = _model_class(config.model_type, settings.pool)
    config = getattr(config, "vision_config", config)  # of a whole CLIP or SigLIP
    state = _dequantized(path) if path.suffix == ".onnx" else checkpoints.strip_prefix(checkpoints.read(path))
    return PooledModel(_load_strict(kind, path, None, config=config, state_dict=state), output)


def _dequantized(path: Path) -> dict[str, Tensor]:
    from aigid.features.onnx_graph import dequantized_state

    return {name: torch.from_numpy(value) for name, value in dequantized_state(path).items()}


def preprocess_record(section: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing by the repository's ``preprocessor_config.json``, or by that beside local weights."""
    model, name = section["model"], "preprocessor_config.json"
    local = Path(section.get("weights") or model)
    if local.exists():
        path = (local if local.is_dir() else local.parent) / name
        if not path.is_file():
            raise InputError(f"{local}: has no {name}; `preprocess` must say it")
    else:
        with checkpoints.hub_errors(model, f"{name} of {model}"):
            path = Path(hf_hub_download(model, name, revision=section.get("revision")))
    return parse_record(json.loads(path.read_text(encoding="utf-8")), f"{model}: {name}")


def _from_folder(source: str, settings: BackboneSettings) -> nn.Module:
    """Load a repository of the hub, or a folder like one."""
    config = transformers.AutoConfig.from_pretrained(source, revision=settings.revision)
    kind, output = _model_class(config.model_type, settings.pool)
    model = _load_strict(kind, source, source, revision=settings.revision, use_safetensors=True)
    return PooledModel(model, output)


def _load_strict(kind: Any, name: Path | str, *source: str | None, **options: object) -> nn.Module:
    """Return a model all of whose weights come from the checkpoint; transformers would fill gaps at random."""
    model, info = kind.from_pretrained(
        *source, **options, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(NON_VISION_PREFIXES)]
    checkpoints.check(name, info["missing_keys"], unexpected, [key for key, *_ in info["mismatched_keys"]])
    network: nn.Module = model
    return network
