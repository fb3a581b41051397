"""DDA's checkpoint (Chen et al., NeurIPS 2025): DINOv2 ViT-L/14, LoRA beside its linear layers, and a linear head."""

from collections.abc import Callable, Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate

from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, Provenance
from aigid.detectors.probe import LinearProbe
from aigid.features import checkpoints, lora
from aigid.features.backbones import BackboneSettings, LoraSettings, fingerprint
from aigid.features.loaders import timm
from aigid.importers import ImportRequest, linear

SOURCE = "DDA, Chen et al. 2025 (roy-ch/Dual-Data-Alignment)"
LICENCES = ["checkpoint: as its publisher states", "trained on photographs of MS COCO"]
LICENCES += ["weights: Meta DINOv2, Apache-2.0"]
BASE, HEAD = "base_model.model.", "base_model.fc."  # before the tensors of the encoder and of the head
POSITIONS, ENCODER_FILE = "pos_embed", "tower.safetensors"


class Dda(LinearProbe):
    """A linear head, and the encoder that it was trained with, LoRA merged, which its bundle holds."""

    def __init__(self, weight: np.ndarray, bias: float, encoder_state: Callable[[], dict[str, Tensor]]) -> None:
        super().__init__(weight, bias, {})
        self.encoder_state = encoder_state  # by timm's names

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors`` and ``tower.safetensors``."""
        save_file(self.encoder_state(), folder / ENCODER_FILE)
        return super().save(folder)

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return what ``save`` wrote; the encoder stays on disk."""
        head = LinearProbe.load(folder, state)
        norm = checkpoints.header(folder / ENCODER_FILE).get("norm.weight", torch.empty(0))
        if norm.shape != head.weight.shape:
            raise InputError(f"{folder / ENCODER_FILE}: no encoder of the head's {len(head.weight)} columns")
        return cls(head.weight, head.bias, lambda: checkpoints.read(folder / ENCODER_FILE))


Detector = Dda


def import_detector(request: ImportRequest) -> Bundle:
    """Return the detector with the authors' own preprocessing: the center 336 px, unscaled, by CLIP's statistics."""
    if request.weights is None:
        raise InputError("--weights: name ckpt.pth of its publisher")
    settings, path = linear.requested_backbone(request.backbone, published()), request.weights
    checkpoints.require_file(path)
    with torch.device("meta"):
        net: Any = timm.build(settings)
    state, expected = checkpoints.read(path), shapes(net)
    state.pop(f"{BASE}mask_token", None)  # of DINOv2's own training
    num_positions = state[BASE + POSITIONS].numel() // net.embed_dim if BASE + POSITIONS in state else 1
    expected[BASE + POSITIONS] = (1, isqrt(max(num_positions - 1, 1)) ** 2 + 1, net.embed_dim)  # any square
    checkpoints.load_strict(path, state, expected)
    merged = merge_lora(state, net)
    net.load_state_dict(merged, assign=True)
    backbone = settings.model_copy(update={"weights": ENCODER_FILE}).model_dump(mode="json")
    origin = Provenance([backbone], licences=LICENCES, source=SOURCE)
    fingerprints = [fingerprint(settings, checkpoints.state_dict_hash(net))]
    detector = Dda(*linear.load_numbers(state, HEAD), lambda: merged)
    return Bundle("dda", detector, {"weights": path.name}, fingerprints, origin)


def published() -> BackboneSettings:
    """Return DINOv2 ViT-L/14 as DDA feeds it."""
    return linear.published_backbone("dinov2_vit_l14_dda", {})


def shapes(net: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a checkpoint of ``net`` by name; DDA's rank is that of ``LoraSettings``."""
    layers = lora.target_modules(net)
    result = {_published(name, layers): tuple(shape) for name, shape in checkpoints.shapes(net).items()}
    for name, shape in lora.shapes(net, LoraSettings().rank).items():
        layer, _, factor = name.rpartition(".")
        result[f"{BASE}{layer}.lora.lora_{factor}"] = shape
    return result | linear.shapes(HEAD, net.embed_dim)


def merge_lora(state: Mapping[str, Tensor], net: Any) -> dict[str, Tensor]:
    """Return the encoder's tensors by timm's names: LoRA's product added, positions for ``net``'s grid."""
    layers = lora.target_modules(net)
    merged = {name: state[_published(name, layers)].float() for name in net.state_dict()}
    for layer in layers:
        a, b = (state[f"{BASE}{layer}.lora.lora_{factor}"].float() for factor in "AB")
        merged[f"{layer}.weight"] = merged[f"{layer}.weight"] + lora.lora_delta(LoraSettings(), a, b)
    merged[POSITIONS] = resize_position_embedding(merged[POSITIONS], net.patch_embed.grid_size[0])
    return {name: tensor.contiguous() for name, tensor in merged.items()}


def resize_position_embedding(pos_embed: Tensor, side: int) -> Tensor:
    """Return positions (1, 1 + N, D) of a square grid for one of ``side`` x ``side``, as DINOv2's own code has them.

    That is bicubic without antialiasing, by a factor that is a tenth of a patch too large; timm's differ.
    """
    sides, width = isqrt(pos_embed.shape[1] - 1), pos_embed.shape[2]
    grid = pos_embed[:, 1:].reshape(1, sides, sides, width).permute(0, 3, 1, 2)
    if grid.shape[-1] == side:
        return pos_embed
    scaled = interpolate(grid, scale_factor=(side + 0.1) / grid.shape[-1], mode="bicubic")
    return torch.cat([pos_embed[:, :1], scaled.flatten(2).transpose(1, 2)], dim=1)


def _published(name: str, layers: Sequence[str]) -> str:
    """Return the checkpoint's name of an encoder's tensor; ``layers`` have LoRA added."""
    layer, _, last = name.rpartition(".")
    return f"{BASE}{layer}.original_layer.{last}" if layer in layers else BASE + name
