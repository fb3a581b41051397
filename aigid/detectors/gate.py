"""Embeddings of several backbones combined: by a gate, by concatenation, or by the mean of their scores."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from aigid.core.files import choose_device, device_name
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, mean_and_std, require_both_classes, require_finite
from aigid.training import prior
from aigid.training.tabular import adamw, reset_parameters, torch_generator, train_epoch

FILE = "weights.safetensors"
BLOCK = 8192  # rows at a time
Count = Annotated[int, Field(ge=1)]


class TrainSettings(Protocol):
    """What ``train_head`` reads of its settings."""

    epochs: int
    learning_rate: float
    batch_size: int
    weight_decay: float


class FusionSettings(Settings):
    """Each backbone's embedding is mapped to ``width`` numbers; ``hidden`` is the width of the gate's layer."""

    backbone: str
    dataset: str
    width: Count
    hidden: Count
    epochs: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    batch_size: Count
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]


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
        return torch.softmax(self.out(gelu(self.hidden(self.norm(torch.cat(list(features), dim=1))))), dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.einsum("bk,kbw->bw", self.weights(features), torch.stack(list(features)))


class Head(nn.Module):
    """Embeddings (B, D), K of ``widths`` side by side, to P(generated) (B,).

    With a ``width`` each is standardized and mapped to as many numbers first; without one they are all of one width,
    and taken as they are.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, widths: Sequence[int], width: int | None) -> None:
        super().__init__()
        self.widths, self.maps = list(widths), None
        self.num_losses, self.log = 1, pd.DataFrame()  # cross-entropies in the loss; and the log of its training
        if width is not None:
            self.register_buffer("mean", torch.zeros(sum(widths)))
            self.register_buffer("scale", torch.ones(sum(widths)))
            self.maps = nn.ModuleList(nn.Linear(size, width) for size in widths)

    def split_features(self, x: Tensor) -> Sequence[Tensor]:
        """Return K of (B, width) from (B, D)."""
        if self.maps is None:
            return torch.split(x, self.widths, dim=1)
        pieces = torch.split((x - self.mean) * self.scale, self.widths, dim=1)
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
        return torch.squeeze(self.out(self.gate(self.split_features(x))), 1)


class ConcatenatedHead(Head):
    """One linear layer on all features side by side; ``hidden`` is unused."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.out = nn.Linear(len(widths) * width if width else sum(widths), 1)

    def logits(self, x: Tensor) -> Tensor:
        return torch.squeeze(self.out(torch.cat(list(self.split_features(x)), dim=1)), 1)


class AveragedHead(Head):
    """The mean of the probabilities of one linear layer for each embedding, trained alone; ``hidden`` is unused."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.num_losses = len(widths)
        self.outs = nn.ModuleList(nn.Linear(width or size, 1) for size in widths)

    def per_encoder_logits(self, x: Tensor) -> Tensor:
        """Return logits (B, K) of (B, D)."""
        return torch.cat([out(part) for out, part in zip(self.outs, self.split_features(x), strict=True)], dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the K cross-entropies."""
        logits = self.per_encoder_logits(x)
        return binary_cross_entropy_with_logits(logits, y[:, None].expand_as(logits)) * self.num_losses

    def forward(self, x: Tensor) -> Tensor:
        return self.per_encoder_logits(x).sigmoid().mean(dim=1)


HEADS: dict[str, Callable[[Sequence[int], int | None, int], Head]] = {
    "gate": GatedHead,
    "concatenation": ConcatenatedHead,
    "averaging": AveragedHead,
}


def train_head(
    head: Head,
    x: Tensor,
    y: Tensor,
    settings: TrainSettings,
    keys: tuple[tuple[str | int, ...], tuple[str | int, ...]],
) -> Head:
    """Train a head by cross-entropy on rows (N, D) with labels (N,), and freeze it; a gate starts as the plain mean.

    ``keys`` seed the first weights and the order of the rows.
    """
    reset_parameters(head, torch_generator(*keys[0]))
    if isinstance(head, GatedHead):
        head.gate.init_uniform()
    head, y = head.to(y.device), y.float()
    optimizer, generator = adamw(head, settings.learning_rate, settings.weight_decay), torch_generator(*keys[1])

    def loss(rows: Tensor) -> Tensor:
        return head.loss(x[rows], y[rows])

    arguments = optimizer, loss, len(y), settings.batch_size, generator, y.device
    losses = [train_epoch(*arguments) for _ in range(settings.epochs)]
    head.log = prior.table(losses, head.num_losses * prior.prior_loss(y.cpu()))
    return head.requires_grad_(False)


def by_rows(function: Callable[[Tensor], Tensor], embeddings: Floats, head: Head) -> Floats:
    """Apply a function of (B, D) float32 to (N, D) on the head's device, a block at a time; the results as float64."""
    x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(next(head.parameters()).device)
    return torch.cat([function(rows) for rows in torch.split(x, BLOCK)]).cpu().numpy().astype(np.float64)


class GatedFusion(EmbeddingDetector):
    """P(generated) from several backbones' embeddings, weighted image by image; of one backbone, a linear layer."""

    Settings = FusionSettings
    kind: ClassVar[str] = "gate"

    def __init__(self, head: Head, state: dict[str, Any]) -> None:
        self.head, self.state = head.requires_grad_(False), state

    @classmethod
    def fit(cls, settings: FusionSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Train on ``train``; val is unused."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        head, device = HEADS[cls.kind](train.widths, settings.width, settings.hidden), choose_device(device_name())
        mean, std = mean_and_std(train.x)
        head.mean.copy_(torch.from_numpy(mean))
        head.scale.copy_(torch.from_numpy(1 / std))
        x, y = torch.from_numpy(train.x).to(device), torch.from_numpy(train.y).to(device)
        train_head(head, x, y, settings, ((cls.kind, "head", seed), (cls.kind, "rows", seed)))
        fitted = cls(head, {"widths": head.widths, "width": settings.width, "hidden": settings.hidden})
        fitted.logs = {"head": head.log}
        return fitted

    def p_generated(self, embeddings: Floats) -> Floats:
        return by_rows(self.head, embeddings, self.head)

    def save(self, folder: Path) -> dict[str, Any]:
        save_file({name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}, folder / FILE)
        return self.state

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        head = HEADS[cls.kind](state["widths"], state["width"], state["hidden"])
        head.load_state_dict(load_file(folder / FILE))
        return cls(head.to(choose_device(device_name())), state)


class ConcatenationFusion(GatedFusion):
    """The gate's first control: one linear layer on all backbones side by side."""

    kind = "concatenation"


class AverageFusion(GatedFusion):
    """The gate's second control: the mean of the scores of each backbone alone."""

    kind = "averaging"
