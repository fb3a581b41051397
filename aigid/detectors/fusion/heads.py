"""Three heads over K towers: each maps a tower's scaled embedding to ``width`` first, and is trained by ``loss``."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from aigid.detectors.gate import Gate


class Head(nn.Module):
    """What the three share: scaling, the cut into towers, one linear map for each."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.widths = list(widths)
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("scale", torch.ones(sum(widths)))
        self.maps = nn.ModuleList(nn.Linear(own, width) for own in widths)

    def parts(self, x: Tensor) -> list[Tensor]:
        """Embeddings (B, D) to K of (B, width)."""
        pieces = ((x - self.mean) * self.scale).split(self.widths, dim=1)
        return [to_width(piece) for to_width, piece in zip(self.maps, pieces, strict=True)]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of labels (B,) float."""
        return binary_cross_entropy_with_logits(self.logits(x), y)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, D) to P(generated), (B,)."""
        return self.logits(x).sigmoid()


class GatedHead(Head):
    """One linear layer on the gate's sum."""

    def __init__(self, widths: Sequence[int], width: int, hidden: int) -> None:
        super().__init__(widths, width)
        self.gate = Gate(len(widths), width, hidden)
        self.out = nn.Linear(width, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        return self.out(self.gate(self.parts(x))).squeeze(1)


class ConcatenatedHead(Head):
    """One linear layer on all towers side by side; ``hidden`` is not needed."""

    def __init__(self, widths: Sequence[int], width: int, hidden: int) -> None:
        super().__init__(widths, width)
        self.out = nn.Linear(len(widths) * width, 1)

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        return self.out(torch.cat(self.parts(x), dim=1)).squeeze(1)


class AveragedHead(Head):
    """One linear layer for each tower, which learns alone; the mean of their probabilities. ``hidden``: not needed."""

    def __init__(self, widths: Sequence[int], width: int, hidden: int) -> None:
        super().__init__(widths, width)
        self.outs = nn.ModuleList(nn.Linear(width, 1) for _ in widths)

    def each(self, x: Tensor) -> Tensor:
        """(B, D) to the towers' logits (B, K)."""
        return torch.cat([out(part) for out, part in zip(self.outs, self.parts(x), strict=True)], dim=1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the towers' cross-entropies."""
        logits = self.each(x)
        return binary_cross_entropy_with_logits(logits, y[:, None].expand_as(logits)) * len(self.widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) to P(generated), (B,)."""
        return self.each(x).sigmoid().mean(dim=1)


HEADS: dict[str, type[Head]] = {"gate": GatedHead, "concatenation": ConcatenatedHead, "averaging": AveragedHead}
