"""FGSM (Goodfellow et al., arXiv 1412.6572) and PGD (Madry et al., arXiv 1706.06083) of L-inf on images of any size."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigid.images import Pixels

STEP = 2.5  # a step of PGD in radii over the number of steps, as Madry et al. take
BATCH = 8  # images
Logit = Callable[[Sequence[Tensor]], Tensor]  # of images (H, W, 3) float32 in [0, 255]
Attacked = dict[tuple[str, int], list[Pixels]]  # by the attack's name and epsilon


def attack(
    logit: Logit,
    images: Sequence[Pixels],
    directions: NDArray[np.floating],
    epsilons: Sequence[int],
    steps: int,
    bfloat16: bool = False,
) -> Attacked:
    """Return images (H, W, 3) uint8 moved by at most each epsilon, of 255, by ``fgsm`` and by ``pgd``.

    ``directions`` (N,) are 1 where the logit shall rise and -1 where it shall fall. PGD takes ``steps`` steps for each
    epsilon, the smallest first, and goes on from where it came with the one before; the best of all steps counts.
    """
    result: Attacked = {(name, epsilon): [] for name in ("fgsm", "pgd") for epsilon in epsilons}
    for start in range(0, len(images), BATCH):
        signs = torch.from_numpy(directions[start : start + BATCH].astype(np.float64))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            for key, moved in _attack_batch(logit, images[start : start + BATCH], signs, epsilons, steps).items():
                result[key] += [image.round().to(torch.uint8).numpy() for image in moved]
    return result


def _attack_batch(
    logit: Logit, images: Sequence[Pixels], directions: Tensor, epsilons: Sequence[int], steps: int
) -> dict[tuple[str, int], list[Tensor]]:
    clean = [torch.from_numpy(image.astype(np.float32)) for image in images]
    gains, slopes = gradients(logit, clean, directions)
    result = {("fgsm", epsilon): _move(clean, clean, slopes, epsilon, epsilon) for epsilon in epsilons}
    best, current, highest = clean, clean, gains
    for epsilon in sorted(epsilons):
        for _ in range(steps):
            current = _move(current, clean, slopes, STEP * epsilon / steps, epsilon)
            gains, slopes = gradients(logit, current, directions)
            ahead = (gains > highest).tolist()
            best = [new if better else old for new, old, better in zip(current, best, ahead, strict=True)]
            highest = torch.maximum(highest, gains)
        result["pgd", epsilon] = best
    return result


def gradients(logit: Logit, images: Sequence[Tensor], directions: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return each image's logit times its direction (N,), and the gradient of that."""
    leaves = [image.detach().requires_grad_() for image in images]
    gains = logit(leaves) * directions
    return gains.detach(), torch.autograd.grad(gains.sum(), leaves)


def _move(
    images: Sequence[Tensor], clean: Sequence[Tensor], slopes: Sequence[Tensor], step: float, epsilon: int
) -> list[Tensor]:
    """Return images a step along the sign of their slopes, within epsilon of the clean ones and the pixels' range."""
    return [
        (image + step * slope.sign()).clamp(original - epsilon, original + epsilon).clamp(0, 255)
        for image, original, slope in zip(images, clean, slopes, strict=True)
    ]
