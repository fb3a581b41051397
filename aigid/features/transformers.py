"""CLIP and SigLIP image towers through transformers."""

import torch
import transformers
from torch import Tensor, nn

from aigid.errors import InputError
from aigid.features import hub
from aigid.features.backbones import BackboneSettings

TOWERS = {  # model_type: (class of the image tower, which of its outputs is the embedding)
    "clip": ("CLIPVisionModelWithProjection", "image_embeds"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds"),
    "siglip": ("SiglipVisionModel", "pooler_output"),
    "siglip_vision_model": ("SiglipVisionModel", "pooler_output"),
}


class Embedding(nn.Module):
    """One of a transformers model's outputs: normalised (B, 3, S, S) to (B, D), not L2-normalised."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, pixels: Tensor) -> Tensor:
        """The declared output of the model."""
        return self.model(pixel_values=pixels)[self.output]


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower; ``weights`` is a folder with ``config.json`` and ``model.safetensors``."""
    if settings.config is not None:
        config = transformers.AutoConfig.for_model(**settings.config)
        name, output = _tower(config.model_type)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return Embedding(getattr(transformers, name)(config), output)
    source = settings.weights or settings.model
    with hub.loading(source, local=settings.weights is not None):
        config = transformers.AutoConfig.from_pretrained(source, revision=settings.revision)
        name, output = _tower(config.model_type)
        model = getattr(transformers, name).from_pretrained(
            source, revision=settings.revision, use_safetensors=True, dtype=torch.float32
        )
    return Embedding(model, output)


def _tower(model_type: str) -> tuple[str, str]:
    if model_type not in TOWERS:
        raise InputError(f"transformers model_type {model_type!r}; known: {', '.join(TOWERS)}")
    return TOWERS[model_type]
