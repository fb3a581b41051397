"""Heads on K feature vectors (B, width) of each image, and their training."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from aigid.detectors.samples import Floats
from aigid.training.tabular import adamw, reset_parameters, torch_generator, train_epoch

BLOCK = 8192  # rows at a time


class TrainSettings(Protocol):
    """What ``train_head`` reads of its settings."""

    epochs: int
    learning_rate: float
    batch_size: int
    weight_decay: float


class SoftmaxGate(nn.Module):
    """K feature vectors (B, width) to their weighted sum (B, width), the weights a softmax over all of them.

    The last layer is zero, so that training starts from the plain mean.
    """

    def __init__(self, num_parts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_parts * width)
        self.hidden = nn.Linear(num_parts * width, hidden)
        self.out = nn.Linear(hidden, num_parts)
        self.init_uniform()

    def init_uniform(self) -> None:
        """Set the last layer to zero: equal weights."""
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        """Return (B, K), each row summing to 1."""
        return self.out(gelu(self.hidden(self.norm(torch.cat(list(features), dim=1))))).softmax(dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.einsum("bk,kbw->bw", self.weights(features), torch.stack(list(features)))


class Head(nn.Module):
    """Embeddings (B, D), K of ``widths`` side by side, to P(generated) (B,).

    With a ``width`` each is standardized and mapped to as many numbers first; without one they are all of one width,
    and taken as they are.
    """

    def __init__(self, widths: Sequence[int], width: int | None) -> None:
        super().__init__()
        self.widths, self.maps = list(widths), None
        if width is not None:
            self.register_buffer("mean", torch.zeros(sum(widths)))
            self.register_buffer("scale", torch.ones(sum(widths)))
            self.maps = nn.ModuleList(nn.Linear(size, width) for size in widths)

    def split_features(self, x: Tensor) -> Sequence[Tensor]:
        """Return K of (B, width) from (B, D)."""
        if self.maps is None:
            return x.split(self.widths, dim=1)
        pieces = ((x - self.mean) * self.scale).split(self.widths, dim=1)
        return [to_width(piece) for to_width, piece in zip(self.maps, pieces, strict=True)]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B,) of (B, D)."""
        raise NotImplementedError

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of labels (B,) float."""
        return binary_cross_entropy_with_logits(self.logits(x), y)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).sigmoid()


class GatedHead(Head):
    """One linear layer on the gate's sum."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.gate = SoftmaxGate(len(widths), width or widths[0], hidden)
        self.out = nn.Linear(width or widths[0], 1)

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights (B, K) of the K embeddings, rows summing to 1."""
        return self.gate.weights(self.split_features(x))

    def logits(self, x: Tensor) -> Tensor:
        return self.out(self.gate(self.split_features(x))).squeeze(1)


class ConcatenatedHead(Head):
    """One linear layer on all features side by side; ``hidden`` is unused."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.out = nn.Linear(len(widths) * width if width else sum(widths), 1)

    def logits(self, x: Tensor) -> Tensor:
        return self.out(torch.cat(list(self.split_features(x)), dim=1)).squeeze(1)


class AveragedHead(Head):
    """The mean of the probabilities of one linear layer for each embedding, trained alone; ``hidden`` is unused."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.outs = nn.ModuleList(nn.Linear(width or size, 1) for size in widths)

    def per_encoder_logits(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of (B, D)."""
        return torch.cat([out(part) for out, part in zip(self.outs, self.split_features(x), strict=True)], dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the K cross-entropies."""
        logits = self.per_encoder_logits(x)
        return binary_cross_entropy_with_logits(logits, y[:, None].expand_as(logits)) * len(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        return self.per_encoder_logits(x).sigmoid().mean(dim=1)


HEADS: dict[str, type[Head]] = {"gate": GatedHead, "concatenation": ConcatenatedHead, "averaging": AveragedHead}


def train_head(
    head: Head,
    features: Callable[[Tensor], Tensor],
    y: Tensor,
    settings: TrainSettings,
    keys: tuple[tuple[str | int, ...], tuple[str | int, ...]],
) -> Head:
    """Train a head by cross-entropy for all epochs, and freeze it; a gate starts as the plain mean.

    ``features`` gives the embeddings (B, D) of row numbers (B,), on the device of the labels ``y`` (N,); ``keys`` seed
    the first weights and the order of the rows.
    """
    reset_parameters(head, torch_generator(*keys[0]))
    if isinstance(head, GatedHead):
        head.gate.init_uniform()
    head, y = head.to(y.device), y.float()
    optimizer, generator = adamw(head, settings.learning_rate, settings.weight_decay), torch_generator(*keys[1])

    def loss(rows: Tensor) -> Tensor:
        return head.loss(features(rows), y[rows])

    for _ in range(settings.epochs):
        train_epoch(optimizer, loss, len(y), settings.batch_size, generator, y.device)
    return head.requires_grad_(False)


def by_rows(function: Callable[[Tensor], Tensor], embeddings: Floats, device: torch.device) -> Floats:
    """Apply a function of (B, D) float32 to (N, D), a block at a time; the results as float64."""
    x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(device)
    return torch.cat([function(rows) for rows in x.split(BLOCK)]).cpu().numpy().astype(np.float64)
