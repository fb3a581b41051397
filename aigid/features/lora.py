"""LoRA (Hu et al., 2022) on every linear layer of every block of an encoder: injected, saved alone, merged.

A 1x1 convolution is a linear layer of every pixel: in a convolutional network's numbered stages those are adapted.

The layers' outputs are adapted. The two linear layers of torch's own attention (open_clip's encoders) are never called,
but their weights are read; so an adapter is added to those, as a parametrization.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from aigid.core.errors import InputError, parse_json
from aigid.core.files import atomic_write
from aigid.features import checkpoints
from aigid.features.backbones import LoraSettings

KEYS = ("in_proj", "out_proj")  # of torch's own attention
REVISION = 2  # of the names of adapters in a training's checkpoint
METADATA_KEY, HEAD = "adapter", "head."  # in a file: of its base and settings, and before a classifier's tensors


class Adapter(nn.Module):
    """The factors of what is added to a weight (outputs, inputs, ...), or to its layer's output."""

    def __init__(self, weight: Tensor, settings: LoraSettings) -> None:
        super().__init__()
        self.settings = settings
        outputs, inputs = weight.shape[:2]
        self.lora_A = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(settings.rank, inputs), a=5**0.5))
        self.lora_B = nn.Parameter(torch.zeros(outputs, settings.rank))


class LoraParametrization(Adapter):
    """A weight (outputs, inputs) plus an adapter's change."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + lora_delta(self.settings, self.lora_A, self.lora_B)


class LoraLayer(Adapter):
    """A linear layer, or a 1x1 convolution, with an adapter: two thin layers beside it, whose output is added."""

    def __init__(self, base: nn.Linear | nn.Conv2d, settings: LoraSettings) -> None:
        outputs, inputs = base.weight.shape[:2]
        torch.rand(settings.rank, inputs), torch.rand(outputs, settings.rank)  # which peft drew: equal seeds, equal A
        super().__init__(base.weight, settings)
        self.base, self.scale = base, settings.alpha / settings.rank

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base(x)
        if isinstance(self.base, nn.Linear):
            return result + functional.linear(functional.linear(x, self.lora_A), self.lora_B) * self.scale
        thin = functional.conv2d(x, self.lora_A[..., None, None], stride=self.base.stride)
        return result + functional.conv2d(thin, self.lora_B[..., None, None]) * self.scale


def target_modules(encoder: nn.Module) -> list[str]:
    """Return the linear layers (DDA's choice) and 1x1 convolutions of the numbered blocks; InputError without any."""
    layers = {name: layer for name, layer in encoder.named_modules() if re.search(r"\.\d+\.", name)}
    names = [name for name, layer in layers.items() if type(layer) is nn.Linear or _is_pointwise(layer)]
    names += [
        f"{name}.{key}" for name, layer in layers.items() if isinstance(layer, nn.MultiheadAttention) for key in KEYS
    ]
    if not names:
        raise InputError("LoRA needs an encoder of numbered blocks with linear layers or 1x1 convolutions")
    return names


def inject(encoder: nn.Module, settings: LoraSettings, seed: int) -> nn.Module:
    """Freeze an encoder and add adapters: A uniform (Kaiming, a = sqrt 5), B zero, so that nothing changes yet."""
    encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in target_modules(encoder):
            if target := _attention_weight(encoder, name):
                layer, weight = target
                adapter = LoraParametrization(getattr(layer, weight), settings)
                parametrize.register_parametrization(layer, weight, adapter)
            else:
                encoder.set_submodule(name, LoraLayer(_adaptable(encoder, name), settings))
    return encoder


def enable_gradient_checkpointing(encoder: Any) -> None:
    """Compute activations anew in the backward pass, block by block, instead of storing them."""
    if hasattr(encoder, "set_grad_checkpointing"):
        encoder.set_grad_checkpointing(True)
    else:
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})


def lora_state_dict(encoder: nn.Module) -> dict[str, Tensor]:
    """Return the adapters' tensors alone, ``<layer>.A`` (rank, inputs) and ``<layer>.B`` (outputs, rank)."""
    adapters = _adapters(encoder).items()
    return {f"{name}.{key}": getattr(adapter, f"lora_{key}").detach() for name, adapter in adapters for key in "AB"}


@torch.no_grad()
def merge_parametrizations(encoder: nn.Module) -> nn.Module:
    """Undo ``inject`` and leave what the adapters learned in the weights."""
    for name, adapter in _adapters(encoder).items():
        if target := _attention_weight(encoder, name):
            parametrize.remove_parametrizations(*target)
        elif isinstance(adapter, LoraLayer):
            encoder.set_submodule(name, adapter.base)
            _weight(encoder, name).add_(lora_delta(adapter.settings, adapter.lora_A, adapter.lora_B))
    return encoder


def save(encoder: nn.Module, base: str, settings: LoraSettings, path: Path, head: Mapping[str, Tensor]) -> None:
    """Write the adapters and a classifier's tensors; ``base`` is the sha256 of the bare encoder's tensors."""
    tensors = lora_state_dict(encoder) | {f"{HEAD}{name}": value for name, value in head.items()}
    metadata = json.dumps({"base": base, **settings.model_dump(mode="json")})
    with atomic_write(path) as part:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part, {METADATA_KEY: metadata})


def load(encoder: nn.Module, path: Path) -> nn.Module:
    """Add the adapters that ``save`` wrote to the bare encoder; InputError where they belong to another."""
    settings, saved = _read(encoder, path)
    encoder = inject(encoder, settings, seed=0)
    for name, value in lora_state_dict(encoder).items():
        value.copy_(saved[name])
    return encoder


@torch.no_grad()
def merge(encoder: nn.Module, path: Path) -> nn.Module:
    """Add what ``save`` wrote to the bare encoder's weights: it computes no more than the base."""
    settings, saved = _read(encoder, path)
    for name in target_modules(encoder):
        _weight(encoder, name).add_(lora_delta(settings, saved[f"{name}.A"], saved[f"{name}.B"]))
    return encoder


def lora_delta(settings: LoraSettings, a: Tensor, b: Tensor) -> Tensor:
    """Return what an adapter adds to a layer's weight (outputs, inputs)."""
    return settings.alpha / settings.rank * (b @ a)


def shapes(encoder: nn.Module, rank: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of ``lora_state_dict`` for adapters on a bare encoder."""
    weights = {name: _weight(encoder, name).shape for name in target_modules(encoder)}
    a = {f"{name}.A": (rank, inputs) for name, (_, inputs) in weights.items()}
    return a | {f"{name}.B": (outputs, rank) for name, (outputs, _) in weights.items()}


def read_head(path: Path) -> dict[str, Tensor]:
    """Return the classifier's tensors in a file of adapters."""
    _metadata(path)
    return {name.removeprefix(HEAD): value for name, value in checkpoints.read(path).items() if name.startswith(HEAD)}


def read_settings(path: Path) -> LoraSettings:
    """Return those of the adapters in a file; what base they belong to is seen when they are added to it."""
    return LoraSettings(**{name: value for name, value in _metadata(path).items() if name != "base"})


def _metadata(path: Path) -> dict[str, Any]:
    """Return the sha256 of the base and the settings of the adapters in a file."""
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path), safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        if text is None:
            raise InputError(f"{path}: no adapter: nothing says of which base")
        metadata = dict(parse_json(text))
        return {"base": str(metadata.pop("base")), **LoraSettings(**metadata).model_dump()}


def _read(encoder: nn.Module, path: Path) -> tuple[LoraSettings, dict[str, Tensor]]:
    """Return a file's adapters; InputError unless they fit the bare encoder."""
    metadata = _metadata(path)
    if checkpoints.state_dict_hash(encoder) != metadata.pop("base"):
        raise InputError(f"{path}: an adapter of another base: its encoder had other weights than this one")
    settings = LoraSettings(**metadata)
    saved = {name: value for name, value in checkpoints.read(path).items() if not name.startswith(HEAD)}
    checkpoints.load_strict(path, saved, shapes(encoder, settings.rank))
    return settings, saved


def _adapters(encoder: nn.Module) -> dict[str, Adapter]:
    """Return the adapters of an encoder, by the names of its targets."""
    layers: dict[str, Any] = {}
    for name, layer in encoder.named_modules():
        if isinstance(layer, LoraLayer):
            layers[name] = layer
        for key in KEYS if isinstance(layer, nn.MultiheadAttention) else ():
            module, weight = _attention_weight(encoder, f"{name}.{key}") or (layer, key)
            if parametrize.is_parametrized(module, weight):
                layers[f"{name}.{key}"] = module.get_submodule(f"parametrizations.{weight}.0")
    return layers


def _weight(encoder: nn.Module, name: str) -> Tensor:
    module, weight = _attention_weight(encoder, name) or (encoder.get_submodule(name), "weight")
    return _matrix(getattr(module, weight))


def _adaptable(encoder: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    layer = encoder.get_submodule(name)
    assert isinstance(layer, (nn.Linear, nn.Conv2d)), name
    return layer


def _is_pointwise(layer: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1


def _matrix(weight: Tensor) -> Tensor:
    """Return a view (outputs, inputs) of the weight of a linear layer or of a 1x1 convolution."""
    return weight.view(weight.shape[:2])


def _attention_weight(encoder: nn.Module, name: str) -> tuple[nn.Module, str] | None:
    """Return module and parameter of a target in torch's own attention; None for any other."""
    above, _, key = name.rpartition(".")
    layer = encoder.get_submodule(above)
    if not isinstance(layer, nn.MultiheadAttention):
        return None
    return (layer, "in_proj_weight") if key == "in_proj" else (layer.out_proj, "weight")
