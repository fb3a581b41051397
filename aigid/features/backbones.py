"""The backbones by name: what each one is, before anything is loaded."""

from typing import Any, Literal

from aigid.errors import InputError
from aigid.features.preprocess import HALF, Preprocess
from aigid.params import Settings, check


class BackboneSettings(Settings):
    """Everything about one frozen tower that decides its embeddings."""

    library: Literal["open_clip", "transformers"]
    model: str  # the library's name of the architecture, or the hub's repository
    pretrained: str | None = None  # open_clip's tag of the weights
    revision: str | None = None  # of the hub's repository; None takes its newest
    weights: str | None = None  # a local file or folder in the library's format, instead of the hub
    config: dict[str, Any] | None = None  # build from this configuration with random weights drawn from ``seed``
    seed: int = 0
    preprocess: Preprocess
    dtype: Literal["float16", "float32"] = "float16"  # of the stored embeddings


class JointSettings(Settings):
    """Several towers that see the same image; their embeddings stand side by side."""

    library: Literal["joint"]
    parts: list[BackboneSettings]
    dtype: Literal["float16", "float32"] = "float16"


def _clip(model: str, size: int) -> dict[str, Any]:
    return {"library": "open_clip", "model": model, "pretrained": "openai", "preprocess": {"size": size}}


def _siglip(model: str, size: int) -> dict[str, Any]:
    how = {"size": size, "resize": "squash", "mean": HALF, "std": HALF}
    return {"library": "transformers", "model": model, "preprocess": how}


BACKBONES: dict[str, dict[str, Any]] = {
    "clip_vit_b16": _clip("ViT-B-16-quickgelu", 224),
    "clip_vit_l14": _clip("ViT-L-14-quickgelu", 224),
    "clip_vit_l14_336": _clip("ViT-L-14-336-quickgelu", 336),
    "siglip_b16": _siglip("google/siglip-base-patch16-224", 224),
    "siglip_so400m_14_384": _siglip("google/siglip-so400m-patch14-384", 384),
}


def resolve(name: str, changes: dict[str, Any] | None = None) -> BackboneSettings | JointSettings:
    """The settings of a backbone by name, with changes; a name not in ``BACKBONES`` needs a whole specification."""
    changes = changes or {}
    if name not in BACKBONES and "library" not in changes:
        raise InputError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    model = JointSettings if changes.get("library") == "joint" else BackboneSettings
    return check(BACKBONES.get(name, {}) | changes, model, f"backbones.{name}")
