"""The inside of a vision transformer, alike for every library: blocks, tokens, published names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from aigid.core.errors import InputError


class VitParts(NamedTuple):
    """The blocks in order, the norm after the last, and how many tokens stand before those of the patches."""

    blocks: nn.ModuleList
    norm: nn.Module
    num_prefix: int


def vit_parts(tower: nn.Module) -> VitParts:
    """Of a tower that open_clip or transformers made; InputError where it is no such transformer."""
    if hasattr(tower, "transformer") and hasattr(tower, "ln_post"):
        return VitParts(tower.transformer.resblocks, tower.ln_post, 1)
    model = getattr(tower, "model", None)
    model = getattr(model, "vision_model", model)
    if hasattr(model, "post_layernorm"):
        return VitParts(model.encoder.layers, model.post_layernorm, int(hasattr(model.embeddings, "class_embedding")))
    if hasattr(model, "layernorm") and hasattr(model.embeddings, "cls_token"):
        return VitParts(model.encoder.layer, model.layernorm, 1)
    raise InputError(f"{type(model or tower).__name__}: has no patch tokens that could be held to a teacher's")


@contextmanager
def capture_tokens(tower: nn.Module, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """What each of ``layers`` gives in the next pass: patch tokens (B, T, D) after the last norm, without prefix."""
    parts, seen = vit_parts(tower), {}
    if wrong := [layer for layer in layers if not -len(parts.blocks) <= layer < len(parts.blocks)]:
        raise InputError(f"layer {wrong[0]}: the encoder has {len(parts.blocks)} blocks")
    found: list[Tensor] = []

    def note(layer: int, output: Tensor | tuple[Tensor, ...]) -> None:
        seen[layer] = output if isinstance(output, Tensor) else output[0]

    hooks = [
        parts.blocks[layer].register_forward_hook(lambda _, __, output, layer=layer: note(layer, output))
        for layer in layers
    ]
    try:
        yield found
        found += [parts.norm(seen[layer])[:, parts.num_prefix :] for layer in layers]
    finally:
        for hook in hooks:
            hook.remove()


def normalized_tokens(tower: nn.Module) -> tuple[str, str]:
    """What stands before the tower's own names, and what checkpoints of transformers 4 have in its place."""
    model = getattr(tower, "model", None)
    if model is None:
        return "", ""
    named = hasattr(model, "vision_model") or not hasattr(model, "post_layernorm")
    return "model.", "" if named else "vision_model."
