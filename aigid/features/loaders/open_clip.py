"""CLIP through open_clip: image encoders, and text encoders whose prompts can be learned."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _find_checkpoint_in_dir
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.preprocess import CLIP_MEAN, CLIP_STD

PERCEPTION_ENCODER = "visual.conv1.weight"  # of Meta's own checkpoints of PE-Core, whose encoder is timm's


def architecture(model: str) -> dict[str, Any]:
    """Return the configuration of an architecture that open_clip knows by name."""
    config: dict[str, Any] | None = open_clip.get_model_config(model)
    if config is None:
        near = get_close_matches(model, open_clip.list_models(), 5, 0.5)
        raise InputError(f"open_clip knows no model {model!r}; near: {', '.join(near) or 'none'}")
    return config


def load(settings: BackboneSettings) -> nn.Module:
    """Return the image encoder: normalized (B, 3, S, S) to its projection (B, D), not L2-normalized.

    ``weights`` is a file of open_clip's state dict (``.safetensors``, ``.pt``, ``.bin``), or a folder with
    ``open_clip_config.json`` as its ``push_to_hf_hub`` writes it.
    """
    visual = load_clip(settings).get_submodule("visual")
    if settings.pool == "before_projection":
        _remove_projection(visual, settings.model)
    return visual


def _remove_projection(visual: Any, model: str) -> None:
    """Make an encoder return what its linear projection is taken of; InputError where it has none."""
    trunk: Any = getattr(visual, "trunk", None)
    head = getattr(visual, "head", None)
    if isinstance(getattr(trunk, "head", None), nn.Linear):  # timm's own classifier is the projection
        trunk.reset_classifier(0)
    elif isinstance(head, nn.Sequential) and {"proj", "mlp"} & dict(head.named_children()).keys():
        visual.head = nn.Sequential(*[part for name, part in head.named_children() if name == "pool"])
    elif "proj" in dict(visual.named_parameters(recurse=False)):
        visual.register_parameter("proj", None)
    else:
        raise InputError(f"{model}: pool: before_projection: it has no linear projection; want own")


def preprocess_record(section: dict[str, Any]) -> dict[str, Any]:
    """Return open_clip's record of a model's preprocessing."""
    size = architecture(section["model"])["vision_cfg"]["image_size"]
    record = open_clip.get_pretrained_cfg(section["model"], section.get("pretrained") or "")
    if not record:
        tags = open_clip.list_pretrained_tags_by_model(section["model"])
        raise InputError(f"open_clip has no weights {section.get('pretrained')!r} of {section['model']}; known: {tags}")
    return {
        "size": size,
        "resize": record.get("resize_mode") or "shortest",
        "interpolation": record.get("interpolation") or "bicubic",
        "mean": record.get("mean") or CLIP_MEAN,
        "std": record.get("std") or CLIP_STD,
    }


def load_clip(settings: BackboneSettings) -> nn.Module:
    """Return the whole CLIP, image and text encoder."""
    if settings.weights is not None:
        return _from_file(settings, Path(settings.weights))
    if settings.config is not None:
        return _from_config(settings.config, settings.seed)
    known = open_clip.get_pretrained_cfg(settings.model, settings.pretrained or "") or {}
    source = (known.get("hf_hub") or known.get("url") or "").rstrip("/")
    with checkpoints.hub_errors(f"{settings.model} {settings.pretrained}", f"open_clip_model.safetensors of {source}"):
        model: nn.Module = open_clip.create_model(settings.model, settings.pretrained, require_pretrained=True)
        return model


def _from_config(config: dict[str, Any], seed: int) -> nn.Module:
    options = {name: value for name, value in config.items() if name != "custom_text"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)(**options)
        return model


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    file, model = path, nn.Module()
    with checkpoints.checkpoint_errors(path), checkpoints.quiet():
        if path.is_dir():
            model = open_clip.create_model(f"local-dir:{path}", load_weights=False)
            file = Path(_find_checkpoint_in_dir(path) or path)
        elif settings.config is not None:
            model = _from_config(settings.config, settings.seed)
        else:
            model = open_clip.create_model(settings.model, load_weights=False)
    if file.is_dir():
        raise InputError(f"weights {path}: holds no .safetensors, .bin or .pth file")
    if checkpoints.has_head(file):
        state = checkpoints.strip_prefix(checkpoints.read(file))
        visual = model.get_submodule("visual")
        checkpoints.load_strict(file, state, checkpoints.shapes(visual))
        visual.load_state_dict(state, strict=False)
        return model
    if file.suffix in (".npz", ".npy"):
        raise InputError(f"weights {file}: big_vision's arrays are not read here; want the copy of timm on the hub")
    with checkpoints.checkpoint_errors(file):
        trunk = getattr(model.get_submodule("visual"), "trunk", None)
        if trunk is not None and PERCEPTION_ENCODER in (state := checkpoints.read(file)):
            from aigid.features.loaders.timm import convert

            checkpoints.load_strict(file, state := convert(state, trunk), checkpoints.shapes(trunk))
            trunk.load_state_dict(state)
            return model
        keys = open_clip.load_checkpoint(model, str(file), strict=False)
    if any(key.startswith("vision_model.") for key in keys.unexpected_keys):
        raise InputError(f"weights {file}: in transformers' format; name its folder, which holds config.json too")
    checkpoints.check(file, [key for key in keys.missing_keys if key.startswith("visual.")], keys.unexpected_keys)
    return model


class TextEncoder:
    """The frozen text encoder of a CLIP, in float32 on the device, entered by token embeddings."""

    def __init__(self, clip: open_clip.CLIP) -> None:
        self.device = choose_device(device_name())
        self.clip = clip.eval().requires_grad_(False).float().to(self.device)
        self.context_length, self.dim = clip.context_length, clip.text_projection.shape[1]
        self.scale = float(clip.logit_scale.exp())
        self._tokenizer = SimpleTokenizer()

    def embed(self, words: Sequence[str]) -> list[Tensor]:
        """Return the token embeddings (n, W) of the start, of every word, and of the full stop and the end.

        A random encoder may know fewer tokens than CLIP; their ids then begin again at 0.
        """
        t = self._tokenizer
        token_ids = [[t.sot_token_id], *map(t.encode, words), [*t.encode("."), t.eot_token_id]]
        ids_on_device = (torch.tensor(ids, device=self.device) for ids in token_ids)
        return [self.clip.token_embedding(ids % self.clip.vocab_size) for ids in ids_on_device]

    def encode(self, prompts: Tensor, eot_positions: Sequence[int]) -> Tensor:
        """Map prompts (P, L, W) that end at ``eot_positions`` (P,) to text embeddings (P, D) of length 1."""
        num, clip = prompts.shape[1], self.clip
        x = clip.transformer(prompts + clip.positional_embedding[:num], attn_mask=clip.attn_mask[:num, :num])
        x = clip.ln_final(x)[torch.arange(len(x)), torch.tensor(eot_positions)]
        return functional.normalize(x @ self.clip.text_projection, dim=1)


def load_text_encoder(settings: BackboneSettings | ConcatSettings, name: str) -> TextEncoder:
    """Return the text encoder of a backbone called ``name``; InputError where it has none."""
    if isinstance(settings, ConcatSettings) or settings.library != "open_clip":
        raise InputError(f"backbone {name!r}: has no text encoder of open_clip's CLIP")
    clip = load_clip(settings)
    if not isinstance(clip, open_clip.CLIP):
        raise InputError(f"backbone {name!r}: its text encoder is a {type(clip).__name__}, not CLIP's own")
    return TextEncoder(clip)
