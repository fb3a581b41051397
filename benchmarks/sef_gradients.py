"""Do the two domains pull shared adapters apart? The paper's argument against naive mixing, measured."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from aigid.detectors.sef.losses import losses
from aigid.detectors.sef.model import Expert
from aigid.detectors.sef.settings import ExpertSettings
from aigid.detectors.sef.training import PairBatches
from aigid.features.encoder import normalize


def gradient(expert: Expert, settings: ExpertSettings, images: np.ndarray, y: np.ndarray) -> Tensor:
    """Return the gradient (P,) of the loss on a batch with respect to the adapters alone."""
    shared = [value.requires_grad_() for name, value in expert.encoder.named_parameters() if "lora_" in name]
    device = expert.device
    with torch.enable_grad():
        features, logits = expert(normalize(images, expert.preprocess, device))
        terms = losses(features, logits, torch.from_numpy(y).to(device), settings.contrastive_weight, settings.margin)
        gradients = torch.autograd.grad(sum(terms.values()), shared)
    return torch.cat([part.flatten() for part in gradients])


def gradient_cosines(
    expert: Expert, settings: ExpertSettings, batches: Mapping[str, PairBatches], batch: int, num: int
) -> dict[str, np.ndarray]:
    """Return cosines (num,) of gradients of the expert as it is, on batches of ``batch`` pairs.

    ``between`` the domains on the same real images; ``within`` a domain, between halves of other real images, which
    says what chance alone does to a cosine.
    """
    expert.train()
    between: list[float] = []
    within: list[float] = []
    for number in range(num):
        halves = np.arange(2 * batch).reshape(2, batch) + 2 * batch * number
        first, second = (
            [gradient(expert, settings, *pairs.take(0, indices % len(pairs))) for indices in halves]
            for pairs in batches.values()
        )
        between += [float(cosine_similarity(x, y, dim=0)) for x, y in zip(first, second, strict=True)]
        within += [float(cosine_similarity(*gradients, dim=0)) for gradients in (first, second)]
    return {"between": np.array(between), "within": np.array(within)}
