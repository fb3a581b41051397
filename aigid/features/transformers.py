"""CLIP, DINOv2 and SigLIP image towers through transformers."""

import torch
import transformers
from torch import Tensor, nn

from aigid.errors import InputError
from aigid.features import hub
from aigid.features.backbones import BackboneSettings

TOWERS = {  # model_type: (class of the image tower, which of its outputs is the embedding)
    "clip": ("CLIPVisionModelWithProjection", "image_embeds"),
    "clip_vision_model": ("CLIPVisionModelWithProjection", "image_embeds"),
    "dinov2": ("Dinov2Model", "pooler_output"),
    "siglip": ("SiglipVisionModel", "pooler_output"),
    "siglip_vision_model": ("SiglipVisionModel", "pooler_output"),
}


class Embedding(nn.Module):
    """A transformers model's embedding: normalised (B, 3, S, S) to (B, D), not L2-normalised."""

    def __init__(self, model: nn.Module, output: str | None) -> None:
        super().__init__()
        self.model = model
        self.output = output  # None: the mean of the last hidden states

    def forward(self, pixels: Tensor) -> Tensor:
        """The declared output of the model, or the mean over its tokens."""
        outputs = self.model(pixel_values=pixels)
        return outputs.last_hidden_state.mean(dim=1) if self.output is None else outputs[self.output]


def load(settings: BackboneSettings) -> nn.Module:
    """The image tower; ``weights`` is a folder with ``config.json`` and ``model.safetensors``."""
    if settings.config is not None:
        config = transformers.AutoConfig.for_model(**settings.config)
        kind, output = _tower(config.model_type)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model = kind(config)
    else:
        source = settings.weights or settings.model
        with hub.loading(source, local=settings.weights is not None):
            config = transformers.AutoConfig.from_pretrained(source, revision=settings.revision)
            kind, output = _tower(config.model_type)
            model = kind.from_pretrained(source, revision=settings.revision, use_safetensors=True, dtype=torch.float32)
    return Embedding(model, None if settings.pool == "mean" else output)


def _tower(model_type: str) -> tuple[type[transformers.PreTrainedModel], str]:
    if model_type not in TOWERS:
        raise InputError(f"transformers model_type {model_type!r}; known: {', '.join(TOWERS)}")
    name, output = TOWERS[model_type]
    return getattr(transformers, name), output
