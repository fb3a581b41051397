"""LoRA (Hu et al., 2022) on every linear layer of every block of a tower: injected, saved alone, merged.

Linear layers are peft's to adapt. The two of torch's own attention (open_clip's towers) are never called, but their
weights are read; so it is to those that an adapter adds, as a parametrization.
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
from torch.nn.utils import parametrize

from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.features import checkpoints
from aigid.features.backbones import LoraSettings

NAME = "default"
KEYS = ("in_proj", "out_proj")  # of torch's own attention
ABOUT, HEAD = "adapter", "head."  # in a file: the key of what it belongs to, and the prefix of a classifier's tensors


class LoraParametrization(nn.Module):
    """A weight (outputs, inputs) with what an adapter adds to it."""

    def __init__(self, weight: Tensor, settings: LoraSettings) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.settings = settings
        self.lora_A = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(settings.rank, inputs), a=5**0.5))
        self.lora_B = nn.Parameter(torch.zeros(outputs, settings.rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + lora_delta(self.settings, self.lora_A, self.lora_B)


def target_modules(tower: nn.Module) -> list[str]:
    """The linear layers of its numbered blocks, attention's and the perceptron's, as DDA; InputError without any."""
    layers = {name: layer for name, layer in tower.named_modules() if re.search(r"\.\d+\.", name)}
    found = [name for name, layer in layers.items() if type(layer) is nn.Linear]
    found += [f"{name}.{part}" for name, layer in layers.items() if _is_plain_linear(layer) for part in KEYS]
    if not found:
        raise InputError("LoRA needs a tower of numbered blocks with linear layers")
    return found


def inject(tower: nn.Module, settings: LoraSettings, seed: int) -> nn.Module:
    """The tower, frozen but for new adapters: A uniform (Kaiming, a = sqrt 5), B zero, so that nothing changes yet."""
    from peft import LoraConfig, inject_adapter_in_model  # with it comes all of transformers: seconds

    names = target_modules(tower)
    read = {name: place for name in names if (place := _read_weight(tower, name))}
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=[name for name in names if name not in read],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = inject_adapter_in_model(config, tower.requires_grad_(False), NAME)
        for layer, weight in read.values():
            parametrize.register_parametrization(layer, weight, LoraParametrization(getattr(layer, weight), settings))
    return tower


def lora_state_dict(tower: nn.Module) -> None:
    """Have a tower compute activations anew in the backward pass, block by block, instead of keeping them."""
    if hasattr(tower, "set_grad_checkpointing"):
        tower.set_grad_checkpointing(True)
    else:
        tower.model.gradient_checkpointing_enable({"use_reentrant": False})


def state(tower: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors alone, by ``<layer>.A`` (rank, inputs) and ``<layer>.B`` (outputs, rank)."""
    found = {}
    for name, layer in _lora_layers(tower).items():
        for factor in "AB":
            value = getattr(layer, f"lora_{factor}")
            found[f"{name}.{factor}"] = (value[NAME].weight if isinstance(value, nn.ModuleDict) else value).detach()
    return found


def merge_parametrizations(tower: nn.Module) -> nn.Module:
    """The tower that ``inject`` changed, plain again: its weights hold what the adapters have learnt."""
    for name, adapter in _lora_layers(tower).items():
        if isinstance(adapter, LoraParametrization):
            parametrize.remove_parametrizations(*_read_weight(tower, name))
            continue
        adapter.merge(safe_merge=True)
        above, _, last = name.rpartition(".")
        setattr(tower.get_submodule(above), last, adapter.get_base_layer())
    return tower


def save(tower: nn.Module, base: str, settings: LoraSettings, path: Path, head: Mapping[str, Tensor]) -> None:
    """Write the adapters and a classifier's tensors; ``base`` is the sha256 of the bare tower's tensors."""
    tensors = state(tower) | {f"{HEAD}{name}": value for name, value in head.items()}
    about = json.dumps({"base": base, **settings.model_dump(mode="json")})
    with atomic_write(path) as part:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part, {ABOUT: about})


def load(tower: nn.Module, path: Path) -> nn.Module:
    """The bare tower with the adapters that ``save`` wrote; InputError where they belong to another."""
    settings, saved = _read(tower, path)
    tower = inject(tower, settings, seed=0)
    for name, value in state(tower).items():
        value.copy_(saved[name])
    return tower


@torch.no_grad()
def merge(tower: nn.Module, path: Path) -> nn.Module:
    """The bare tower with what ``save`` wrote added to its weights: it computes no more than the base."""
    settings, saved = _read(tower, path)
    for name in target_modules(tower):
        _weight(tower, name).add_(lora_delta(settings, saved[f"{name}.A"], saved[f"{name}.B"]))
    return tower


def lora_delta(settings: LoraSettings, a: Tensor, b: Tensor) -> Tensor:
    """What an adapter adds to a layer's weight (outputs, inputs)."""
    return settings.alpha / settings.rank * (b @ a)


def shapes(tower: nn.Module, rank: int) -> dict[str, tuple[int, int]]:
    """Those of ``state`` for adapters on a bare tower."""
    found = {}
    for name in target_modules(tower):
        outputs, inputs = _weight(tower, name).shape
        found |= {f"{name}.A": (rank, inputs), f"{name}.B": (outputs, rank)}
    return found


def read_head(path: Path) -> dict[str, Tensor]:
    """The classifier's tensors in a file of adapters."""
    _metadata(path)
    return {name.removeprefix(HEAD): value for name, value in checkpoints.read(path).items() if name.startswith(HEAD)}


def _metadata(path: Path) -> dict[str, Any]:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path), safe_open(path, "pt") as file:
        about = (file.metadata() or {}).get(ABOUT)
    if about is None:
        raise InputError(f"{path}: no adapter: nothing says of which base")
    return json.loads(about)


def _read(tower: nn.Module, path: Path) -> tuple[LoraSettings, dict[str, Tensor]]:
    """A file's adapters, which fit the bare tower."""
    about = _metadata(path)
    if checkpoints.state_dict_hash(tower) != about.pop("base"):
        raise InputError(f"{path}: an adapter of another base: its tower had other weights than this one")
    settings = LoraSettings(**about)
    saved = {name: value for name, value in checkpoints.read(path).items() if not name.startswith(HEAD)}
    checkpoints.load_strict(path, saved, shapes(tower, settings.rank))
    return settings, saved


def _lora_layers(tower: nn.Module) -> dict[str, nn.Module]:
    """Of a tower with adapters, by the names of ``targets``: peft's layers, and what adds to weights that are read."""
    found = {}
    for name, layer in tower.named_modules():
        if hasattr(layer, "lora_A") and not isinstance(layer, LoraParametrization):
            found[name] = layer
        for part in KEYS if _is_plain_linear(layer) else ():
            place, weight = _read_weight(tower, f"{name}.{part}")
            if parametrize.is_parametrized(place, weight):
                found[f"{name}.{part}"] = place.parametrizations[weight][0]
    return found


def _weight(tower: nn.Module, name: str) -> Tensor:
    """Of one of a bare tower's targets."""
    layer, weight = _read_weight(tower, name) or (tower.get_submodule(name), "weight")
    return getattr(layer, weight)


def _read_weight(tower: nn.Module, name: str) -> tuple[nn.Module, str] | None:
    """The module and the parameter of a target that is part of torch's own attention; None of any other."""
    above, _, part = name.rpartition(".")
    layer = tower.get_submodule(above)
    if not _is_plain_linear(layer):
        return None
    return (layer, "in_proj_weight") if part == "in_proj" else (layer.out_proj, "weight")


def _is_plain_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.MultiheadAttention)
