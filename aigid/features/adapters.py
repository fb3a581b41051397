"""LoRA (Hu et al., 2022) on every linear layer of every block of a tower: injected, saved alone, merged."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from aigid.errors import InputError
from aigid.features import hub, weights
from aigid.files import atomic
from aigid.params import Settings

NAME = "default"
ABOUT, HEAD = "adapter", "head."  # in a file: the key of what it belongs to, and the prefix of a classifier's tensors


class LoraSettings(Settings):
    """DDA's are the defaults: outputs are changed by ``alpha / rank`` times the product of the two factors."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 1.0


def targets(tower: nn.Module) -> list[str]:
    """The linear layers of its numbered blocks, attention's and the perceptron's, as DDA; InputError without any."""
    layers = [(name, layer) for name, layer in tower.named_modules() if re.search(r"\.\d+\.", name)]
    found = [name for name, layer in layers if type(layer) is nn.Linear]
    if not found or any(isinstance(layer, nn.MultiheadAttention) for _, layer in layers):
        raise InputError("LoRA needs a tower whose attention is made of linear layers: timm's or transformers'")
    return found


def inject(tower: nn.Module, settings: LoraSettings, seed: int) -> nn.Module:
    """The tower, frozen but for new adapters: A uniform (Kaiming, a = sqrt 5), B zero, so that nothing changes yet."""
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, bias="none", target_modules=targets(tower)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return inject_adapter_in_model(config, tower.requires_grad_(False), NAME)


def checkpoint(tower: nn.Module) -> None:
    """Have a tower compute activations anew in the backward pass, block by block, instead of keeping them."""
    if hasattr(tower, "set_grad_checkpointing"):
        tower.set_grad_checkpointing(True)
    else:
        tower.model.gradient_checkpointing_enable({"use_reentrant": False})


def state(tower: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors alone, by ``<layer>.A`` (rank, inputs) and ``<layer>.B`` (outputs, rank)."""
    found = {}
    for name, layer in _layers(tower).items():
        found[f"{name}.A"] = layer.lora_A[NAME].weight.detach()
        found[f"{name}.B"] = layer.lora_B[NAME].weight.detach()
    return found


def merge(tower: nn.Module) -> nn.Module:
    """A plain tower again, whose weights hold what the adapters did; it computes no more than the base."""
    for name, layer in _layers(tower).items():
        layer.merge(safe_merge=True)
        above, _, last = name.rpartition(".")
        setattr(tower.get_submodule(above), last, layer.get_base_layer())
    return tower


def save(tower: nn.Module, base: str, settings: LoraSettings, path: Path, head: Mapping[str, Tensor]) -> None:
    """Write the adapters and a classifier's tensors; ``base`` is the sha256 of the bare tower's tensors."""
    tensors = state(tower) | {f"{HEAD}{name}": value for name, value in head.items()}
    about = json.dumps({"base": base, **settings.model_dump(mode="json")})
    with atomic(path) as part:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, part, {ABOUT: about})


def load(tower: nn.Module, path: Path) -> nn.Module:
    """The bare tower with the adapters that ``save`` wrote; InputError where they belong to another."""
    about = _about(path)
    if weights.sha256_of(tower) != about.pop("base"):
        raise InputError(f"{path}: an adapter of another base: its tower had other weights than this one")
    saved = {name: value for name, value in weights.read(path).items() if not name.startswith(HEAD)}
    tower = inject(tower, LoraSettings(**about), seed=0)
    own = state(tower)
    wrong = [name for name in own.keys() & saved.keys() if own[name].shape != saved[name].shape]
    weights.check(path, own.keys() - saved.keys(), saved.keys() - own.keys(), wrong)
    for name, value in own.items():
        value.copy_(saved[name])
    return tower


def head(path: Path) -> dict[str, Tensor]:
    """The classifier's tensors in a file of adapters."""
    _about(path)
    return {name.removeprefix(HEAD): value for name, value in weights.read(path).items() if name.startswith(HEAD)}


def _about(path: Path) -> dict[str, Any]:
    hub.require(path)
    with weights.reading(path), safe_open(path, "pt") as file:
        about = (file.metadata() or {}).get(ABOUT)
    if about is None:
        raise InputError(f"{path}: no adapter: nothing says of which base")
    return json.loads(about)


def _layers(tower: nn.Module) -> dict[str, LoraLayer]:
    return {name: layer for name, layer in tower.named_modules() if isinstance(layer, LoraLayer)}
