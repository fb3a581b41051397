"""Image encoders through transformers: CLIP, SigLIP, DINOv2 and v3, MetaCLIP 2, AIMv2, RADIO."""

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import Tensor, nn

from aigid.core.errors import InputError, reason
from aigid.features import checkpoints, weights
from aigid.features.backbones import BackboneSettings
from aigid.features.preprocess import read_record

CLIP, METACLIP2 = (
    ("CLIPVisionModelWithProjection", "image_embeds"),
    ("MetaClip2VisionModelWithProjection", "image_embeds"),
)
SIGLIP, SIGLIP2 = ("SiglipVisionModel", "pooler_output"), ("Siglip2VisionModel", "pooler_output")
AIMV2 = ("Aimv2VisionModel", "pooler_output")
VISION_MODELS = {  # model_type: (class of the image encoder, its output that is the embedding)
    "clip": CLIP,
    "clip_vision_model": CLIP,
    "metaclip_2": METACLIP2,
    "metaclip_2_vision_model": METACLIP2,
    "siglip": SIGLIP,
    "siglip_vision_model": SIGLIP,
    "siglip2": SIGLIP2,
    "siglip2_vision_model": SIGLIP2,
    "dinov2": ("Dinov2Model", "pooler_output"),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "pooler_output"),
    "dinov3_vit": ("DINOv3ViTModel", "pooler_output"),
    "dinov3_convnext": ("DINOv3ConvNextModel", "pooler_output"),
    "aimv2": AIMV2,
    "aimv2_vision_model": AIMV2,
    "radio": ("RadioModel", "summary"),
}
FAMILIES = ("siglip", "metaclip", "dinov2", "dinov3", "aimv2", "clip")  # in names of models, the longer first
NON_VISION_PREFIXES = ("text_model.", "text_projection.", "visual_projection.", "logit_")  # of a whole CLIP or SigLIP


def _vision_config(model_type: str, width: int, size: int, heads: int, layers: int, **other: int) -> dict[str, Any]:
    shape = {"hidden_size": width, "image_size": size, "num_attention_heads": heads, "num_hidden_layers": layers}
    return {"model_type": model_type, "patch_size": 14} | shape | other


SO400M = _vision_config("siglip_vision_model", 1152, 384, 16, 27, intermediate_size=4304)
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
    "google/siglip-so400m-patch14-384": SO400M,
    "google/siglip2-so400m-patch14-384": SO400M,  # the fixed sizes of SigLIP 2 are SigLIP's class
}


class PooledModel(nn.Module):
    """A transformers model's embedding: normalized (B, 3, S, S) to (B, D), not L2-normalized."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output
        config: Any = model.config
        self.patch_size: int | None = config.patch_size if config.model_type == "siglip2_vision_model" else None

    def forward(self, pixels: Tensor) -> Tensor:
        arguments = {"pixel_values": pixels} if self.patch_size is None else _as_patches(pixels, self.patch_size)
        outputs = self.model(**arguments)
        embeddings: Tensor = outputs[self.output if self.output in outputs else "last_hidden_state"]
        return embeddings


def _as_patches(pixels: Tensor, side: int) -> dict[str, Tensor]:
    """Return what SigLIP 2's encoder for any aspect ratio takes: (B, N, side * side * 3) patches, row by row."""
    batch, channels, height, width = pixels.shape
    grid = pixels.view(batch, channels, height // side, side, width // side, side).permute(0, 2, 4, 3, 5, 1)
    patches = grid.reshape(batch, -1, side * side * channels)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.int64, device=pixels.device),
        "spatial_shapes": torch.tensor([[height // side, width // side]] * batch, device=pixels.device),
    }


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
        config = _config(settings.model, settings.config)
        kind, output = _model_class(config, settings.pool)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return PooledModel(kind(config), output)
    if path is not None:
        return _from_file(settings, Path(path))
    files = f"config.json and model.safetensors of {settings.model}"
    with checkpoints.hub_errors(settings.model, files + (f" at {settings.revision}" if settings.revision else "")):
        return _from_folder(settings.model, settings)


def _config(model: str, section: dict[str, Any]) -> Any:
    try:
        return transformers.AutoConfig.for_model(**section)
    except Exception as error:  # transformers raises ValueError, and huggingface_hub classes of its own
        raise InputError(f"{model}: config: {reason(error)}") from None


def _model_class(config: Any, pool: str) -> tuple[Any, str]:
    model_type = config.model_type
    if model_type not in VISION_MODELS:
        raise InputError(f"transformers model_type {model_type!r}; known: {', '.join(VISION_MODELS)}")
    name, output = VISION_MODELS[model_type]
    if pool == "before_projection":
        if output != "image_embeds":
            raise InputError(f"pool: before_projection: {model_type} has no projection; want own or mean")
        name, output = name.removesuffix("WithProjection"), "pooler_output"
    if pool == "own" and not getattr(getattr(config, "vision_config", config), "use_head", True):
        raise InputError(f"pool: own: this {model_type} has no embedding of its own; want mean")
    return getattr(transformers, name), output


def _from_file(settings: BackboneSettings, path: Path) -> nn.Module:
    checkpoints.require_file(path)
    if path.is_dir():
        with checkpoints.checkpoint_errors(path):
            return _from_folder(str(path), settings, family_of(settings))
    if settings.config is None and (path.parent / "config.json").exists():
        config = _read_config(str(path.parent), None)
    else:
        config = _config(settings.model, settings.config or architecture(settings.model))
    kind, output = _model_class(config, settings.pool)
    config = getattr(config, "vision_config", config)  # of a whole CLIP or SigLIP
    state = _dequantized(path) if path.suffix == ".onnx" else checkpoints.strip_prefix(checkpoints.read(path))
    return PooledModel(load_strict(kind, path, None, config=config, state_dict=state), output)


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
    return read_record(path, f"{model}: {name}")


def family_of(settings: BackboneSettings) -> str:
    """Return the kind of encoder that a backbone's name says it is; empty where it says none."""
    named = next((family for family in FAMILIES if family in settings.model.lower()), "")
    return named or ("clip" if settings.pretrained == "openai" else "")


def _from_folder(source: str, settings: BackboneSettings, family: str = "") -> nn.Module:
    """Load a repository of the hub, or a folder like one; InputError where it is of another family."""
    config = _read_config(source, settings.revision)
    if family and not config.model_type.replace("_", "").startswith(family):
        raise InputError(
            f"weights {source}: config.json is of {config.model_type}, the backbone {settings.model} is not"
        )
    kind, output = _model_class(config, settings.pool)
    model = load_strict(kind, source, source, revision=settings.revision, use_safetensors=True)
    return PooledModel(model, output)


def _read_config(source: str, revision: str | None) -> Any:
    record, _ = transformers.PreTrainedConfig.get_config_dict(source, revision=revision)
    checkpoints.refuse_code(record, f"{source}: config.json")
    return checkpoints.from_pretrained(transformers.AutoConfig, source, revision=revision)


def load_strict(kind: Any, name: Path | str, *source: str | None, **options: object) -> nn.Module:
    """Return a model all of whose weights come from the checkpoint; transformers would fill gaps at random."""
    options |= {"dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = checkpoints.from_pretrained(kind, *source, **options)
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(NON_VISION_PREFIXES)]
    checkpoints.check(name, info["missing_keys"], unexpected, [key for key, *_ in info["mismatched_keys"]])
    network: nn.Module = model
    return network
