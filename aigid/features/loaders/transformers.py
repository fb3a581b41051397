"""CLIP, DINOv2 and SigLIP image towers through transformers."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings

VISION_MODELS = {  # model_type: (class of the image tower, which of its outputs is the embedding)
    "clip": ("CLIPVisionModelWithProjection", "image_embeds"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds"),
    "dinov2": ("Dinov2Model", "pooler_output"),
    "siglip": ("SiglipVisionModel", "pooler_output"),
    "siglip_vision_model": ("SiglipVisionModel", "pooler_output"),
}
CLIP_VISION = ("CLIPVisionModel", "pooler_output")  # before its projection
NON_VISION_PREFIXES = ("text_model.", "text_projection.", "visual_projection.", "logit_")  # of a whole CLIP or SigLIP

# The published configurations, for checkpoints that come as one file.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "facebook/dinov2-large": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "image_size": 518,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
    "openai/clip-vit-large-patch14": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 224,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
    },
    "google/siglip-base-patch16-224": {"model_type": "siglip_vision_model"},
    "google/siglip-so400m-patch14-384": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "image_size": 384,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
    },
}


class PooledModel(nn.Module):
    """A transformers model's embedding: normalised (B, 3, S, S) to (B, D), not L2-normalised."""

    def __init__(self, model: nn.Module, output: str | None) -> None:
        super().__init__()
        self.model = model
        self.output = output  # None: the mean of the last hidden states

    def forward(self, pixels: Tensor) -> Tensor:
        """The declared output of the model, or the mean over its tokens."""
        outputs = self.model(pixel_values=pixels)
        return outputs.last_hidden_state.mean(dim=1) if self.output is None else outputs[self.output]


def architecture(model: str) -> dict[str, Any]:
    """The published configuration of a repository's image tower; InputError that lists the known."""
    if model not in ARCHITECTURES:
        raise InputError(f"no configuration of {model!r} at hand; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[model]


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower.

    ``weights`` is a folder with ``config.json`` and ``model.safetensors``, or one file (``.safetensors``, ``.pt``,
    ``.bin``) that has ``config.json`` beside it or belongs to ``config`` or to a known architecture.
    """
    if settings.weights is None and settings.config is not None:
        config = transformers.AutoConfig.for_model(**settings.config)
        kind, output = _tower(config.model_type, settings.pool)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = kind(config)
    elif settings.weights is None:
        wanted = f"config.json and model.safetensors of {settings.model}"
        with checkpoints.hub_errors(settings.model, wanted + (f" at {settings.revision}" if settings.revision else "")):
            model, output = _folder(settings.model, settings)
    else:
        model, output = _local(settings, Path(settings.weights))
    return PooledModel(model, output)


def _tower(model_type: str, pool: str) -> tuple[type[transformers.PreTrainedModel], str | None]:
    if model_type not in VISION_MODELS:
        raise InputError(f"transformers model_type {model_type!r}; known: {', '.join(VISION_MODELS)}")
    name, output = VISION_MODELS[model_type]
    if pool == "before_projection":
        if output != "image_embeds":
            raise InputError(f"pool: before_projection: {model_type} has no projection; want own or mean")
        name, output = CLIP_VISION
    return getattr(transformers, name), None if pool == "mean" else output


def _local(settings: BackboneSettings, path: Path) -> tuple[nn.Module, str | None]:
    checkpoints.require_file(path)
    if path.is_dir():
        with checkpoints.checkpoint_errors(path):
            return _folder(str(path), settings)
    if settings.config is None and (path.parent / "config.json").exists():
        config = transformers.AutoConfig.from_pretrained(path.parent)
    else:
        config = transformers.AutoConfig.for_model(**settings.config or architecture(settings.model))
    kind, output = _tower(config.model_type, settings.pool)
    config = getattr(config, "vision_config", config)  # of a whole CLIP or SigLIP
    return _load_strict(
        kind, path, None, config=config, state_dict=checkpoints.strip_prefix(checkpoints.read(path))
    ), output


def _folder(source: str, settings: BackboneSettings) -> tuple[nn.Module, str | None]:
    """From a hub's repository or a folder like one."""
    config = transformers.AutoConfig.from_pretrained(source, revision=settings.revision)
    kind, output = _tower(config.model_type, settings.pool)
    return _load_strict(kind, source, source, revision=settings.revision, use_safetensors=True), output


def _load_strict(
    kind: type[transformers.PreTrainedModel], name: object, *source: object, **options: object
) -> nn.Module:
    """A model all of whose weights come from the checkpoint; transformers itself would fill gaps at random."""
    model, found = kind.from_pretrained(
        *source, **options, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    unexpected = [key for key in found["unexpected_keys"] if not key.startswith(NON_VISION_PREFIXES)]
    checkpoints.check(name, found["missing_keys"], unexpected, [key for key, *_ in found["mismatched_keys"]])
    return model
