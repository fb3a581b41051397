"""Backbone settings, and the known backbones by name; nothing is loaded."""

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from aigid.core.errors import InputError
from aigid.core.params import Settings, validate
from aigid.features.preprocess import MEAN_STD_05, Preprocess


class LoraSettings(Settings):
    """LoRA adapters that add ``alpha / rank`` times the product of two factors; DDA's are the defaults."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 1.0


class BackboneSettings(Settings):
    """All that decides the embeddings of one frozen backbone."""

    library: Literal["open_clip", "transformers", "timm"]
    model: str  # the library's name of the architecture, or the hub's repository
    pretrained: str | None = None  # open_clip's tag of the weights
    revision: str | None = None  # of the hub's repository; None takes its newest
    weights: str | None = None  # a local file or folder in the library's format, instead of the hub
    config: dict[str, Any] | None = None  # build from this; without ``weights``, random ones come from ``seed``
    seed: int = 0
    adapter: str | None = None  # a file of LoRA adapters that were trained on these weights; they are merged
    high_pass: bool = False  # take the mean off each random patch filter, as forensic networks do (Bayar & Stamm, 2016)
    # The architecture's embedding, what CLIP projects it from, or (transformers) the mean of the last hidden states.
    pool: Literal["own", "before_projection", "mean"] = "own"
    preprocess: Preprocess
    decode: Literal["exact", "fast"] = "exact"  # a key of DECODE_BACKENDS in aigid/features/preprocess.py
    dtype: Literal["float16", "float32"] = "float16"  # of the stored embeddings


def resolve_name(part: Any) -> Any:
    """Return a specification, or what ``BACKBONES`` has by that name."""
    return BACKBONES[part] if isinstance(part, str) and part in BACKBONES else part


class ConcatSettings(Settings):
    """Several backbones that see the same image; their embeddings are concatenated."""

    library: Literal["joint"]
    parts: Annotated[list[Annotated[BackboneSettings, BeforeValidator(resolve_name)]], Field(min_length=2)]
    decode: Literal["exact", "fast"] | None = None  # of all parts; None leaves it to each
    dtype: Literal["float16", "float32"] = "float16"


def _clip(model: str, size: int) -> dict[str, Any]:
    return {"library": "open_clip", "model": model, "pretrained": "openai", "preprocess": {"size": size}}


def _siglip(model: str, size: int) -> dict[str, Any]:
    preprocess = {"size": size, "resize": "squash", "mean": MEAN_STD_05, "std": MEAN_STD_05}
    return {"library": "transformers", "model": model, "preprocess": preprocess}


def _tiny_clip(width: int) -> dict[str, Any]:
    vision = {"image_size": 32, "patch_size": 4, "width": width, "layers": 2, "head_width": 64, "mlp_ratio": 2.0}
    text = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 1, "layers": 1}
    return {
        "library": "open_clip",
        "model": "tiny",
        "config": {"embed_dim": width, "vision_cfg": vision | {"pool_type": "avg"}, "text_cfg": text},
        "high_pass": True,
        "preprocess": {"size": 32},
    }


def _tiny_siglip(width: int) -> dict[str, Any]:
    shape = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": width // 64}
    config = {"image_size": 32, "patch_size": 4} | shape | {"intermediate_size": 2 * width}
    return _siglip("tiny", 32) | {
        "config": {"model_type": "siglip_vision_model"} | config,
        "high_pass": True,
        "pool": "mean",
    }


BACKBONES: dict[str, dict[str, Any]] = {
    "clip_vit_b16": _clip("ViT-B-16-quickgelu", 224),
    "clip_vit_l14": _clip("ViT-L-14-quickgelu", 224),
    "clip_vit_l14_336": _clip("ViT-L-14-336-quickgelu", 336),
    "clip_vit_l14_336_before_projection": _clip("ViT-L-14-336-quickgelu", 336) | {"pool": "before_projection"},
    "dinov2_vit_l14": {
        "library": "transformers",
        "model": "facebook/dinov2-large",
        "preprocess": {"size": 224, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    },
    "dinov2_vit_l14_dda": {  # by CLIP's mean and std, and no resizing: the base of DDA's LoRA
        "library": "timm",
        "model": "vit_large_patch14_dinov2.lvd142m",
        "preprocess": {"size": 336, "resize": "none"},
        "dtype": "float32",
    },
    "siglip_b16": _siglip("google/siglip-base-patch16-224", 224),
    "siglip_so400m_14_384": _siglip("google/siglip-so400m-patch14-384", 384),
    # FeatDistill's encoders: CLIP in transformers' format, SigLIP on a center crop instead of a squashed image.
    "featdistill_clip": {
        "library": "transformers",
        "model": "openai/clip-vit-large-patch14",
        "preprocess": {"size": 224},
    },
    "featdistill_siglip": _siglip("google/siglip-so400m-patch14-384", 384)
    | {"preprocess": {"size": 384, "mean": MEAN_STD_05, "std": MEAN_STD_05}},
    # Random weights, for tests and the preset `tiny`.
    "tiny_clip": _tiny_clip(192),
    "tiny_siglip": _tiny_siglip(192),
    "tiny_clip_64": _tiny_clip(64),
    "tiny_siglip_64": _tiny_siglip(64),
    "tiny_vit": {
        "library": "timm",
        "model": "tiny",
        "config": {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0},
        "high_pass": True,
        "preprocess": {"size": 32, "resize": "none"},
    },
}


def backbone_settings(name: str, changes: dict[str, Any] | None = None) -> BackboneSettings | ConcatSettings:
    """Return the settings of a backbone by name, with changes; a name not in ``BACKBONES`` needs all of them."""
    changes = changes or {}
    if name not in BACKBONES and "library" not in changes:
        raise InputError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    values, title = BACKBONES.get(name, {}) | changes, f"backbones.{name}"
    if values.get("library") == "joint":
        return validate(values, ConcatSettings, title)
    return validate(values, BackboneSettings, title)


def components(settings: BackboneSettings | ConcatSettings) -> list[BackboneSettings]:
    """Return the parts of a backbone, with what a joint one decides for all of them."""
    if isinstance(settings, BackboneSettings):
        return [settings]
    changes = {"dtype": settings.dtype} | ({"decode": settings.decode} if settings.decode else {})
    return [part.model_copy(update=changes) for part in settings.parts]


def other_backbones(sections: dict[str, Any], name: str) -> list[BackboneSettings]:
    """Return the parts of all backbones but ``name``, each once; invalid sections are left to their own stages."""
    parts: list[BackboneSettings] = []
    for other, changes in sections.items():
        with suppress(InputError):
            parts += components(backbone_settings(other, changes)) if other != name else []
    return [part for number, part in enumerate(parts) if part not in parts[:number]]
