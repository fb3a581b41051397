"""AdamW's groups of an expert's parameters, and the course of the learning rate."""

import re
from collections.abc import Callable
from math import cos, pi
from typing import Any

from torch import nn

from aigid.detectors.featdistill.model import Expert
from aigid.detectors.featdistill.settings import OptimizerSettings

TOKENS = re.compile("embed|token|position|rel_pos|probe|latent")  # in a parameter's own name: no weight of a layer


def parameter_groups(expert: Expert, net: nn.Module, descent: OptimizerSettings) -> list[dict[str, Any]]:
    """Return AdamW's groups: of the encoder, and of whatever else learns, first what decays, then what does not.

    Weights of linear layers and convolutions decay; biases, norms, scales, embeddings and tokens do not.
    """
    embeddings = {id(layer.weight) for layer in net.modules() if isinstance(layer, nn.Embedding)}
    in_encoder = {id(value) for value in expert.vision_encoder.parameters()}
    learning = [(name.rpartition(".")[2], value) for name, value in net.named_parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = []
    for is_encoder, rate, decay in (
        (True, descent.encoder_learning_rate, descent.encoder_weight_decay),
        (False, descent.head_learning_rate, descent.head_weight_decay),
    ):
        part = [(name, value) for name, value in learning if (id(value) in in_encoder) == is_encoder]
        free = [value.ndim < 2 or id(value) in embeddings or bool(TOKENS.search(name)) for name, value in part]
        for is_free in (False, True):
            values = [value for (_, value), known in zip(part, free, strict=True) if known == is_free]
            groups.append({"params": values, "lr": rate, "weight_decay": 0.0 if is_free else decay})
    return [group for group in groups if group["params"]]


def lr_schedule(num_steps: int, warm_up: float) -> Callable[[int], float]:
    """Return a step's share of the learning rate as a function: a linear warm-up, then half a cosine."""
    rising = max(round(warm_up * num_steps), 1)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return (cos(pi * min((step - rising) / max(num_steps - rising, 1), 1)) + 1) / 2

    return share
