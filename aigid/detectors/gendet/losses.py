"""The paper's equations, corrected where it prints them wrong; ``zt``, ``zs`` (B, K) are teacher's and student's."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def discrepancy(zt: Tensor, zs: Tensor) -> Tensor:
    """Return Eq. 4, the squared difference of each output, (B, K)."""
    return (zt - zs).square()


def squared_cosine_distance(zt: Tensor, zs: Tensor) -> Tensor:
    """Return 2 - 2 cos of both outputs, (B,) in [0, 4]: the squared chord of their directions."""
    return discrepancy(normalize(zt, dim=1), normalize(zs, dim=1)).sum(dim=1)


def real_loss(zt: Tensor, zs: Tensor, reduction: str = "mean") -> Tensor:
    """Return Eq. 1, mean over the batch; over the K outputs the ``mean`` or, as printed, the ``sum``.

    Eq. 3, the augmenter's loss, is the same of augmented fakes: the augmenter lowers what the student raises.
    """
    per_image = discrepancy(zt, zs)
    return (per_image.mean(dim=1) if reduction == "mean" else per_image.sum(dim=1)).mean()


def fake_loss(zt: Tensor, zs: Tensor, margin: float) -> Tensor:
    """Return Eq. 2: ``margin`` minus each squared chord, at least 0, mean over the batch (which the paper omits)."""
    return torch.relu(margin - squared_cosine_distance(zt, zs)).mean()
