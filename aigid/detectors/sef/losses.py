"""DDA's loss of a batch of pairs: cross-entropy, and the contrast of features."""

import torch
from torch import Tensor
from torch.nn import functional

from aigid.training.task import full_precision


def losses(features: Tensor, logits: Tensor, y: Tensor, share: float, margin: float) -> dict[str, Tensor]:
    """``share`` of the contrastive loss and the rest of cross-entropy; logits and ``y`` (N,)."""
    with full_precision(logits) as (logits,):
        entropy = functional.binary_cross_entropy_with_logits(logits, y.float())
    terms = {"cross_entropy": (1 - share) * entropy}
    return terms | ({"contrastive": share * contrastive(features, y, margin)} if share else {})


def contrastive(features: Tensor, y: Tensor, margin: float) -> Tensor:
    """Hadsell et al. (CVPR 2006) as DDA takes it from pytorch-metric-learning.

    The mean distance of two of one class, and the mean of what another class's lacks of ``margin``; each mean is over
    the pairs that lose anything. ``y`` (N,). In float32 at least, whatever autocast says, and from differences: by the
    product of unit vectors, in float16 those nearer than 0.02 would have distance and gradient zero, and in float32
    equal ones a distance of up to 5e-4, which would count.
    """
    with full_precision(features) as (features,):
        unit, same = functional.normalize(features, dim=1), y[:, None] == y[None, :]
        far = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")  # gradient 0 where two are equal
        others = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
        return _mean_of_positive(far[same & others]) + _mean_of_positive(functional.relu(margin - far[~same]))


def _mean_of_positive(losses: Tensor) -> Tensor:
    losing = losses > 0  # exactly, as in the reference: equal features are exactly 0 apart
    return losses.sum() / losing.sum().clamp(min=1)
