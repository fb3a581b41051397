"""What decides a backbone's embeddings, and what every backbone gives."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from typing import Annotated, Any, Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from aigid.core.errors import InputError, input_errors
from aigid.core.files import choose_device, device_name
from aigid.core.params import Settings, validate
from aigid.features.preprocess import Pixels, Preprocess
from aigid.features.registry import BACKBONES, named


class LoraSettings(Settings):
    """LoRA adapters that add ``alpha / rank`` times the product of two factors; DDA's are the defaults."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 1.0


Library = Literal["open_clip", "transformers", "timm", "onnx"]
Pool = Literal["own", "before_projection", "cls", "mean", "cls_mean"]
Decoding = Literal["exact", "fast", "draft"]  # the keys of DECODE_BACKENDS in aigid/features/preprocess.py
NEEDED = {"size", "resize", "interpolation", "mean", "std"}  # of a `preprocess` that no record completes
LARGEST_BATCH = 256  # images; beyond, a GPU gains nothing


class BackboneSettings(Settings):
    """All that decides the embeddings of one frozen backbone.

    ``layers`` are blocks of a transformer or stages of a convolutional network, counted from 0 or from the end: the
    output of each is pooled, and they stand side by side. Without them ``cls`` and ``mean`` are of the tokens after the
    last norm.
    """

    library: Library
    model: str  # the library's name of the architecture, or the hub's repository
    pretrained: str | None = None  # open_clip's tag of the weights, or a name of aigid/features/weights.py
    revision: str | None = None  # of the hub's repository; None takes its newest
    weights: str | None = None  # a local file or folder in the library's format, instead of the hub
    config: dict[str, Any] | None = None  # build from this; without ``weights``, random ones come from ``seed``
    seed: int = 0
    adapter: str | None = None  # a file of LoRA adapters that were trained on these weights; they are merged
    high_pass: bool = False  # take the mean off each random patch filter, as forensic networks do (Bayar & Stamm, 2016)
    layers: Annotated[list[int | str], Field(min_length=1)] | None = None  # a str names a tensor of an ONNX graph
    # The library's own embedding; what CLIP projects it from; the class token, the mean of the others, or both.
    pool: Pool = "own"
    output: str | None = None  # of an ONNX graph: its output that is the embedding, or that holds the tokens
    preprocess: Preprocess  # where it is not given, the library's own record of the model
    decode: Decoding = "exact"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"  # of a CPU; auto: bfloat16 where it is fast
    dtype: Literal["float16", "float32"] = "float16"  # of the stored embeddings

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Accept a name of ``BACKBONES`` or an address; take a missing ``preprocess`` from the library's record."""
        section = named(value) if isinstance(value, str) else value
        if isinstance(section, dict) and "preprocess" not in section and section.get("library") in get_args(Library):
            return section | {"preprocess": _preprocess_record(section)}
        return section

    @model_validator(mode="after")
    def _fits_the_library(self) -> Self:
        if self.library == "onnx":
            for name in ("config", "adapter", "high_pass", "precision"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: not for library: onnx, which runs the file's graph as it is")
        if self.layers is not None and self.pool not in ("cls", "mean", "cls_mean"):
            raise ValueError(f"layers: pool: {self.pool}: want cls, mean or cls_mean")
        if self.revision is not None and self.library != "transformers":
            raise ValueError(f"revision: is for library: transformers, not {self.library}")
        if self.output is not None and self.library != "onnx":
            raise ValueError(f"output: is for library: onnx, not {self.library}")
        return self


class ConcatSettings(Settings):
    """Several backbones that see the same image; their embeddings are concatenated."""

    library: Literal["joint"]
    parts: Annotated[list[BackboneSettings], Field(min_length=2)]
    decode: Decoding | None = None  # of all parts; None leaves it to each
    dtype: Literal["float16", "float32"] = "float16"


def backbone_settings(name: str, changes: dict[str, Any] | str | None = None) -> BackboneSettings | ConcatSettings:
    """Return the settings of a backbone by name or address, with changes; any other name needs all of them.

    ``changes`` may be another backbone's name or address, which ``name`` then stands for.
    """
    if isinstance(changes, str):
        return backbone_settings(changes)
    changes = changes or {}
    section = changes if name not in BACKBONES and "library" in changes else _change(named(name), changes)
    if section.get("library") == "joint":
        return validate(section, ConcatSettings, f"backbones.{name}")
    return validate(section, BackboneSettings, f"backbones.{name}")


def _change(section: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a section with changes; the library's record completes a ``preprocess`` where the section has none."""
    preprocess = changes.get("preprocess")
    if "preprocess" in section or not isinstance(preprocess, dict) or preprocess.keys() >= NEEDED:
        return section | changes
    return section | changes | {"preprocess": _preprocess_record(section | changes) | preprocess}


def _preprocess_record(section: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = import_module(f"aigid.features.loaders.{section['library']}").preprocess_record(section)
    return record


def fingerprint(settings: BackboneSettings, weights_sha256: str) -> str:
    """Return the fingerprint of the backbone whose tensors have this sha256.

    Settings that came later count only where they are used, so that embeddings of before keep their key.
    """
    source = {"pretrained", "revision", "weights", "adapter", "seed"}
    metadata = settings.model_dump(mode="json", exclude=source)
    for name in ("layers", "output", "precision"):
        if metadata[name] == BackboneSettings.model_fields[name].default:
            del metadata[name]
    if metadata["preprocess"]["crop_fraction"] == 1:
        del metadata["preprocess"]["crop_fraction"]
    return hashlib.sha256(json.dumps([metadata, weights_sha256], sort_keys=True).encode()).hexdigest()


class Backbone(Protocol):
    """One frozen encoder: square uint8 images in, embeddings of width ``dim`` out, equal in any company.

    ``encode`` of a ``threaded`` backbone is called by several threads at once; any other uses all cores itself.
    """

    settings: BackboneSettings
    dim: int
    batch: int  # images to hand over at a time
    threaded: bool
    weights_sha256: str
    weights_files: dict[str, str]  # sha256 by name

    @property
    def device_info(self) -> str:
        """Device and precision, for the record."""

    @property
    def fingerprint(self) -> str:
        """Equal for two backbones that give one image the same embedding, wherever their weights came from."""

    def choose_batch(self, requested: int | None, num_images: int, largest: int) -> None:
        """Set the batch to ``requested``, else to what suits the device, up to ``largest``."""

    def encode(self, images: Pixels) -> NDArray[np.float32]:
        """Embed (N, S, S, 3) uint8 as (N, D), not L2-normalized; InputError where one image is too much memory."""

    def encode_async(self, images: Pixels) -> Callable[[], NDArray[np.float32]]:
        """Start ``encode`` and return a function that waits for its embeddings."""


def first_image_errors(size: int, name: str) -> AbstractContextManager[None]:
    """Turn what an encoder raises at its first image into one line: many take images of one size alone."""
    return input_errors(f"weights {name}: take no images of {size} px, as `preprocess` makes")


def open_backbone(settings: BackboneSettings, batch: int | None = None) -> Backbone:
    """Load a backbone onto this machine's device; an ONNX one without torch."""
    if settings.library == "onnx":
        from aigid.features.loaders.onnx import OnnxBackbone

        return OnnxBackbone(settings)
    from aigid.features.encoder import TorchBackbone

    return TorchBackbone(settings, choose_device(device_name()), batch or 1)


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
