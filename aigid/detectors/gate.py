"""Several feature vectors of an image brought together: by a gate, by concatenation, or by the mean of their scores."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from aigid.core.files import choose_device, device_name
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import LabeledEmbeddings, mean_and_std, require_both_classes, require_finite
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
    """Each backbone's embedding is mapped to ``width`` numbers; ``hidden`` is the gate's own layer."""

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
        self.start_as_mean()

    def start_as_mean(self) -> None:
        """Set the last layer to zero."""
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def weights(self, parts: Sequence[Tensor]) -> Tensor:
        """(B, K), each row summing to 1."""
        return self.out(gelu(self.hidden(self.norm(torch.cat(list(parts), dim=1))))).softmax(dim=1)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """K of (B, width) to (B, width)."""
        return torch.einsum("bk,kbw->bw", self.weights(parts), torch.stack(list(parts)))


class Head(nn.Module):
    """Embeddings (B, D), K of ``widths`` side by side, to P(generated).

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

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """(B, D) to K of (B, width)."""
        if self.maps is None:
            return x.split(self.widths, dim=1)
        pieces = ((x - self.mean) * self.scale).split(self.widths, dim=1)
        return [to_width(piece) for to_width, piece in zip(self.maps, pieces, strict=True)]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of labels (B,) float."""
        return binary_cross_entropy_with_logits(self.logits(x), y)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to P(generated), (B,)."""
        return self.logits(x).sigmoid()


class GatedHead(Head):
    """One linear layer on the gate's sum."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.gate = SoftmaxGate(len(widths), width or widths[0], hidden)
        self.out = nn.Linear(width or widths[0], 1)

    def weights(self, x: Tensor) -> Tensor:
        """(B, D) to (B, K), rows summing to 1: how much each part counts."""
        return self.gate.weights(self.parts(x))

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        return self.out(self.gate(self.parts(x))).squeeze(1)


class ConcatenatedHead(Head):
    """One linear layer on all parts side by side; ``hidden`` is not needed."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.out = nn.Linear(len(widths) * width if width else sum(widths), 1)

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        return self.out(torch.cat(list(self.parts(x)), dim=1)).squeeze(1)


class AveragedHead(Head):
    """One linear layer for each part, which learns alone; the mean of their probabilities. ``hidden``: not needed."""

    def __init__(self, widths: Sequence[int], width: int | None, hidden: int) -> None:
        super().__init__(widths, width)
        self.outs = nn.ModuleList(nn.Linear(width or size, 1) for size in widths)

    def each(self, x: Tensor) -> Tensor:
        """(B, D) to the parts' logits (B, K)."""
        return torch.cat([out(part) for out, part in zip(self.outs, self.parts(x), strict=True)], dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the parts' cross-entropies."""
        logits = self.each(x)
        return binary_cross_entropy_with_logits(logits, y[:, None].expand_as(logits)) * len(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to P(generated), (B,)."""
        return self.each(x).sigmoid().mean(dim=1)


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
        head.gate.start_as_mean()
    head, y = head.to(y.device), y.float()
    optimizer, draw = adamw(head, settings.learning_rate, settings.weight_decay), torch_generator(*keys[1])
    for _ in range(settings.epochs):
        train_epoch(
            optimizer, lambda rows: head.loss(features(rows), y[rows]), len(y), settings.batch_size, draw, y.device
        )
    return head.requires_grad_(False)


def by_rows(function: Callable[[Tensor], Tensor], embeddings: np.ndarray, device: torch.device) -> np.ndarray:
    """Apply a function of (B, D) float32 to (N, D), a block at a time; the results as float64."""
    x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(device)
    return torch.cat([function(rows) for rows in x.split(BLOCK)]).cpu().numpy().astype(np.float64)


class GatedFusion(EmbeddingDetector):
    """P(generated) from several backbones' embeddings, weighed image by image; of one backbone, a linear layer."""

    Settings = FusionSettings
    kind: ClassVar[str] = "gate"

    def __init__(self, head: Head, facts: dict[str, Any]) -> None:
        self.head, self.facts = head.requires_grad_(False), facts

    @classmethod
    def fit(cls, settings: FusionSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Train on ``train``; val is not needed."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        head = HEADS[cls.kind](train.widths, settings.width, settings.hidden)
        mean, std = mean_and_std(train.x)
        head.mean.copy_(torch.from_numpy(mean))
        head.scale.copy_(torch.from_numpy(1 / std))
        device = choose_device(device_name())
        x, y = torch.from_numpy(train.x).to(device), torch.from_numpy(train.y).to(device)
        keys = (cls.kind, "head", seed), (cls.kind, "rows", seed)
        train_head(head, lambda rows: x[rows], y, settings, keys)
        return cls(head, {"widths": head.widths, "width": settings.width, "hidden": settings.hidden})

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return by_rows(self.head, embeddings, self.head.mean.device)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``."""
        save_file({name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}, folder / FILE)
        return self.facts

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """Return the detector that ``save`` wrote."""
        head = HEADS[cls.kind](facts["widths"], facts["width"], facts["hidden"])
        head.load_state_dict(load_file(folder / FILE))
        return cls(head.to(choose_device(device_name())), facts)


class ConcatenationFusion(GatedFusion):
    """The gate's first control: one linear layer on all backbones side by side."""

    kind = "concatenation"


class AverageFusion(GatedFusion):
    """The gate's second control: the mean of what each backbone says alone."""

    kind = "averaging"
