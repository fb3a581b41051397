"""Train a head on embeddings that stay on the device."""

from collections.abc import Sequence

import torch

from aigid.detectors.base.rows import Rows, standardization
from aigid.detectors.descent import adamw, epoch, generator, initialise
from aigid.detectors.fusion.heads import HEADS, Head
from aigid.detectors.fusion.settings import FusionSettings


def build(kind: str, widths: Sequence[int], width: int, hidden: int) -> Head:
    """The untrained head of a name in ``HEADS``."""
    return HEADS[kind](widths, width, hidden)


def train_head(kind: str, train: Rows, settings: FusionSettings, seed: int, device: torch.device) -> Head:
    """The head of that name, trained by cross-entropy for all epochs."""
    head = initialise(build(kind, train.widths, settings.width, settings.hidden), generator(kind, "head", seed))
    if kind == "gate":
        head.gate.start_as_mean()
    mean, scale = standardization(train)
    head.mean.copy_(torch.from_numpy(mean))
    head.scale.copy_(torch.from_numpy(scale))
    head.to(device)
    x, y = torch.from_numpy(train.x).to(device), torch.from_numpy(train.y).to(device).float()
    optimizer, draw = adamw(head, settings.lr, settings.weight_decay), generator(kind, "rows", seed)
    for _ in range(settings.epochs):
        epoch(optimizer, lambda rows: head.loss(x[rows], y[rows]), len(y), settings.batch_size, draw, device)
    return head
