"""Blocks and tokens of a vision transformer, stages of a convolutional network, alike for every library."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aigid.core.errors import InputError


class VitParts(NamedTuple):
    """The blocks in order, the norm after the last, and the number of tokens before those of the patches.

    Of a convolutional network, and of a Swin transformer, they are its stages, which give feature maps; ``num_prefix``
    is None. The maps are (B, C, H, W), or (B, H, W, C) where ``channels_last``.
    """

    blocks: Sequence[nn.Module]
    norm: nn.Module
    num_prefix: int | None
    channels_last: bool = False


def vit_parts(encoder: Any) -> VitParts:
    """Return the parts of an encoder of open_clip, timm or transformers; InputError where it is of another kind."""
    if hasattr(encoder, "trunk"):  # open_clip's wrapper of timm's
        return vit_parts(encoder.trunk)
    if hasattr(encoder, "transformer") and hasattr(encoder, "ln_post"):
        return VitParts(encoder.transformer.resblocks, encoder.ln_post, 1)
    parts = _timm_parts(encoder) if hasattr(encoder, "feature_info") else _transformers_parts(encoder)
    if parts is None:
        name = type(getattr(encoder, "model", encoder)).__name__
        raise InputError(f"{name}: its blocks are not known here; want pool: own, without layers")
    return parts


def _timm_parts(encoder: Any) -> VitParts | None:
    if hasattr(encoder, "num_prefix_tokens") and hasattr(encoder, "blocks"):
        after_pooling = isinstance(encoder.norm, nn.Identity) and hasattr(encoder, "fc_norm")
        return VitParts(encoder.blocks, encoder.fc_norm if after_pooling else encoder.norm, encoder.num_prefix_tokens)
    channels_last = getattr(encoder, "output_fmt", "NCHW") == "NHWC"
    for name in ("layers",) if channels_last else ("stages", "blocks"):
        if isinstance(getattr(encoder, name, None), nn.Sequential | nn.ModuleList):
            last = [_last_layer(stage) for stage in getattr(encoder, name)]
            return VitParts(last, nn.Identity(), None, channels_last)
    stages = [getattr(encoder, f"layer{number}", None) for number in range(1, 5)]  # ResNet's
    return None if None in stages else VitParts(list(map(_last_layer, stages)), nn.Identity(), None)


def _last_layer(stage: Any) -> nn.Module:
    """Return what gives a stage's output: gradient checkpointing calls the layers of a sequential one, not itself."""
    return stage[-1] if isinstance(stage, nn.Sequential) else stage


def _transformers_parts(encoder: Any) -> VitParts | None:
    model: Any = getattr(encoder, "model", None)
    model = getattr(model, "vision_model", model)
    kind = getattr(getattr(model, "config", None), "model_type", "")
    registers = getattr(getattr(model, "config", None), "num_register_tokens", 0)
    if hasattr(model, "post_layernorm"):  # CLIP, MetaCLIP 2, SigLIP and SigLIP 2
        return VitParts(model.encoder.layers, model.post_layernorm, int(hasattr(model.embeddings, "class_embedding")))
    if kind.startswith("dinov2"):
        return VitParts(model.encoder.layer, model.layernorm, 1 + registers)
    if kind == "dinov3_vit":
        return VitParts(model.model.layer, model.norm, 1 + registers)
    if kind == "dinov3_convnext":
        return VitParts(model.model.stages, nn.Identity(), None)
    if kind.startswith("aimv2"):
        return VitParts(model.encoder.layers, model.rms_norm, 0)
    if kind == "radio":
        return VitParts(model.encoder.layer, nn.Identity(), model.config.num_summary_tokens)
    return None


def pool_tokens(output: Tensor, num_prefix: int | None, pool: str) -> Tensor:
    """Return (B, D) of tokens (B, T, D) or feature maps (B, C, H, W), as ``pool`` says; InputError where it cannot."""
    if num_prefix is None:
        if output.ndim != 4:
            raise InputError(f"pool: {pool}: blocks of shape {tuple(output.shape[1:])} are no feature maps; want own")
        if pool != "mean":
            raise InputError(f"pool: {pool}: feature maps have no class token; want mean")
        return output.mean(dim=(2, 3))
    if pool != "mean" and not num_prefix:
        raise InputError(f"pool: {pool}: the encoder has no class token; want mean")
    parts = {"cls": output[:, 0], "mean": output[:, num_prefix:].mean(dim=1)}
    return torch.cat([parts[name] for name in pool.split("_")], dim=1)


def first_tensor(output: Tensor | tuple[Tensor, ...], channels_last: bool = False) -> Tensor:
    """Return a block's output without what it may give beside it, the channels of feature maps first."""
    tensor = output if isinstance(output, Tensor) else output[0]
    return tensor.movedim(-1, 1) if channels_last else tensor


class FeatureHooks:
    """Hooks by which an encoder returns what ``layers`` and ``pool`` say instead of its own embedding.

    Nothing wraps the encoder: names of its parameters, and all that is done to its blocks, stay as they are.
    """

    def __init__(self, encoder: nn.Module, layers: Sequence[int | str] | None, pool: str) -> None:
        parts = vit_parts(encoder)
        self.layers, self.pool, self.num_prefix = layers or [-1], pool, parts.num_prefix
        self.channels_last = parts.channels_last
        self.norm = parts.norm if layers is None else nn.Identity()
        self._captured: dict[int, dict[int | str, Tensor]] = {}  # by thread: several may pass through at once
        for layer in self.layers:
            get_block(encoder, layer).register_forward_hook(partial(self._record, layer))
        encoder.register_forward_hook(self._pool)

    def _record(self, layer: int | str, _: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self._captured.setdefault(get_ident(), {})[layer] = first_tensor(output, self.channels_last)

    def _pool(self, _: nn.Module, __: object, ___: object) -> Tensor:
        outputs = self._captured.pop(get_ident())
        pooled = [pool_tokens(self.norm(outputs[layer]), self.num_prefix, self.pool) for layer in self.layers]
        return torch.cat(pooled, dim=1)


def get_block(encoder: nn.Module, layer: int | str) -> nn.Module:
    """Return a block by its number; InputError where the encoder has none of it."""
    blocks = vit_parts(encoder).blocks
    if isinstance(layer, str) or not -len(blocks) <= layer < len(blocks):
        raise InputError(f"layer {layer}: the encoder has {len(blocks)} blocks")
    return blocks[layer]


@contextmanager
def capture_tokens(encoder: nn.Module, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """Yield a list that holds, after a pass in the block, the patch tokens (B, T, D) of each of ``layers``, normed."""
    parts = vit_parts(encoder)
    blocks = [get_block(encoder, layer) for layer in layers]
    outputs: dict[int, Tensor] = {}
    tokens: list[Tensor] = []

    def record(layer: int, _: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs[layer] = first_tensor(output, parts.channels_last)

    hooks = [block.register_forward_hook(partial(record, layer)) for block, layer in zip(blocks, layers, strict=True)]
    try:
        yield tokens
        for layer in layers:
            dense = parts.norm(outputs[layer])
            tokens.append(dense.flatten(2).mT if parts.num_prefix is None else dense[:, parts.num_prefix :])
    finally:
        for hook in hooks:
            hook.remove()


def freeze_batch_norms(encoder: nn.Module) -> None:
    """Let batch norms use the statistics that they hold, and leave them as they are; their scale and shift may learn.

    Small batches of finetuning estimate them badly, and an adapted network must compute in use as in training.
    """
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def parameter_prefix(encoder: nn.Module) -> tuple[str, str]:
    """Return the prefix of the encoder's parameter names, and what checkpoints of transformers 4 have in its place."""
    model = getattr(encoder, "model", None)
    if model is None:
        return "", ""
    named = hasattr(model, "vision_model") or not hasattr(model, "post_layernorm")
    return "model.", "" if named else "vision_model."
