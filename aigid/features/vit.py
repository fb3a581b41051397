"""The blocks, tokens and published names of a vision transformer, alike for every library."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from aigid.core.errors import InputError


class VitParts(NamedTuple):
    """The blocks in order, the norm after the last, and the number of tokens before those of the patches."""

    blocks: nn.ModuleList
    norm: nn.Module
    num_prefix: int


def vit_parts(encoder: Any) -> VitParts:
    """Return the parts of an encoder of open_clip or transformers; InputError where it is no such transformer."""
    if hasattr(encoder, "transformer") and hasattr(encoder, "ln_post"):
        return VitParts(encoder.transformer.resblocks, encoder.ln_post, 1)
    model: Any = getattr(encoder, "model", None)
    model = getattr(model, "vision_model", model)
    if hasattr(model, "post_layernorm"):
        return VitParts(model.encoder.layers, model.post_layernorm, int(hasattr(model.embeddings, "class_embedding")))
    if hasattr(model, "layernorm") and hasattr(model.embeddings, "cls_token"):
        return VitParts(model.encoder.layer, model.layernorm, 1)
    raise InputError(f"{type(model or encoder).__name__}: has no patch tokens that could be held to a teacher's")


@contextmanager
def capture_tokens(encoder: nn.Module, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Yield a list that holds, after a pass in the block, the patch tokens (B, T, D) of each of ``layers``, normed."""
    parts = vit_parts(encoder)
    if wrong := [layer for layer in layers if not -len(parts.blocks) <= layer < len(parts.blocks)]:
        raise InputError(f"layer {wrong[0]}: the encoder has {len(parts.blocks)} blocks")
    outputs: dict[int, Tensor] = {}
    tokens: list[Tensor] = []

    def record(layer: int, _: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs[layer] = output if isinstance(output, Tensor) else output[0]

    hooks = [parts.blocks[layer].register_forward_hook(partial(record, layer)) for layer in layers]
    try:
        yield tokens
        tokens += [parts.norm(outputs[layer])[:, parts.num_prefix :] for layer in layers]
    finally:
        for hook in hooks:
            hook.remove()


def parameter_prefix(encoder: nn.Module) -> tuple[str, str]:
    """Return the prefix of the encoder's parameter names, and what checkpoints of transformers 4 have in its place."""
    model = getattr(encoder, "model", None)
    if model is None:
        return "", ""
    named = hasattr(model, "vision_model") or not hasattr(model, "post_layernorm")
    return "model.", "" if named else "vision_model."
