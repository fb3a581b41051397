"""The losses of an expert, on the features and logits of a batch."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, relu


def pairwise_distances(features: Tensor) -> Tensor:
    """Euclidean distances (N, N) of features (N, D) scaled to length 1; the gradient is 0 where two are equal."""
    unit = normalize(features.float(), dim=1)
    return (2 - 2 * unit @ unit.T).clamp(min=1e-12).sqrt()


def contrastive(features: Tensor, y: Tensor, margin: float) -> Tensor:
    """Hadsell et al. (CVPR 2006) as DDA takes it from pytorch-metric-learning.

    The mean distance of two of one class, and the mean of what another class's lacks of ``margin``; each mean is over
    the pairs that lose anything. ``y`` (N,).
    """
    far, same = pairwise_distances(features), y[:, None] == y[None, :]
    others = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    return _mean_of_positive(far[same & others]) + _mean_of_positive(relu(margin - far[~same]))


def _mean_of_positive(losses: Tensor) -> Tensor:
    losing = losses > 1e-5  # below it, rounding alone
    return torch.where(losing, losses, 0).sum() / losing.sum().clamp(min=1)


def loss(features: Tensor, logits: Tensor, y: Tensor, share: float, margin: float) -> dict[str, Tensor]:
    """``share`` of the contrastive loss and the rest of cross-entropy; logits and ``y`` (N,)."""
    entropy = binary_cross_entropy_with_logits(logits.float(), y.float())
    terms = {"cross_entropy": (1 - share) * entropy}
    return terms | ({"contrastive": share * contrastive(features, y, margin)} if share else {})
