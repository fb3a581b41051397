"""The gate: how much each of several feature vectors of an image counts, decided image by image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """K feature vectors (B, width) to their weighted sum (B, width), the weights a softmax over all of them.

    The last layer is zero, so that training starts from the plain mean. The vectors may be those of several backbones
    or of several experts on one backbone (SEF's fusion).
    """

    def __init__(self, num_parts: int, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_parts * width)
        self.hidden = nn.Linear(num_parts * width, hidden)
        self.out = nn.Linear(hidden, num_parts)
        self.start_as_mean()

    def start_as_mean(self) -> None:
        """Forget what the last layer has learnt."""
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def weights(self, parts: Sequence[Tensor]) -> Tensor:
        """(B, K), each row summing to 1."""
        seen = self.norm(torch.cat(list(parts), dim=1))
        return self.out(nn.functional.gelu(self.hidden(seen))).softmax(dim=1)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """K of (B, width) to (B, width)."""
        return torch.einsum("bk,kbw->bw", self.weights(parts), torch.stack(list(parts)))
