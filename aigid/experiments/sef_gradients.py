"""Do the two domains pull shared adapters apart? The paper's argument against naive mixing, measured."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from aigid.detectors.sef import losses
from aigid.detectors.sef.model import Expert
from aigid.detectors.sef.settings import ExpertSettings
from aigid.detectors.sef.training import PairBatches
from aigid.features.encoder import normalize


def gradient(expert: Expert, settings: ExpertSettings, images: np.ndarray, y: np.ndarray) -> Tensor:
    """Of the loss on a batch, with respect to the adapters alone, (P,)."""
    shared = [value.requires_grad_() for name, value in expert.encoder.named_parameters() if "lora_" in name]
    device = expert.device
    with torch.enable_grad():
        features, logits = expert(normalize(images, expert.preprocess, device))
        terms = losses.loss(
            features, logits, torch.from_numpy(y).to(device), settings.contrastive_weight, settings.margin
        )
        found = torch.autograd.grad(sum(terms.values()), shared)
    return torch.cat([part.flatten() for part in found])


def gradient_cosines(
    expert: Expert, settings: ExpertSettings, lessons: Mapping[str, PairBatches], batch: int, num: int
) -> dict[str, np.ndarray]:
    """Of ``num`` batches each (num,): ``between`` the domains' gradients on the same photographs; ``within`` the
    domains, between two halves of other photographs, which says what chance alone does to a cosine.

    Batches are of ``batch`` pairs; all gradients are of the expert as it is.
    """
    expert.train()
    found: dict[str, list[float]] = {"between": [], "within": []}
    for number in range(num):
        a, b = np.arange(2 * batch).reshape(2, batch) + 2 * batch * number
        of = {
            name: [gradient(expert, settings, *one.take(0, places % len(one))) for places in (a, b)]
            for name, one in lessons.items()
        }
        first, second = of.values()
        found["between"] += [float(cosine_similarity(x, y, dim=0)) for x, y in zip(first, second, strict=True)]
        found["within"] += [float(cosine_similarity(*halves, dim=0)) for halves in (first, second)]
    return {name: np.array(values) for name, values in found.items()}
