"""What becomes of an attacked image of any size: by gradients, or reconstructed in whole or in a patch; and mixtures.

FGSM (Goodfellow et al., arXiv 1412.6572) and PGD (Madry et al., arXiv 1706.06083) are of L-inf.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigid.core import seeding
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


ROUNDS = 5  # of the bisection


def reconstruct(network: Any, image: Pixels) -> Pixels:
    """Return (H, W, 3) uint8 through an autoencoder and back, from its upper left as far as its factor divides it."""
    from aigid.generators import autoencoder_kl  # torch

    factor, result = autoencoder_kl.reduction(network), image.copy()
    height, width = (side - side % factor for side in image.shape[:2])
    decoded = autoencoder_kl.reconstruct(network, image[None, :height, :width])[0]
    result[:height, :width] = np.rint(np.clip((decoded + 1) * 127.5, 0, 255))
    return result


def paste_patch(image: Pixels, other: Pixels, share: float, sha256: str, seed: int) -> Pixels:
    """Return an image with a rectangle of another of its size, of its shape and a ``share`` of its area.

    Where it lies is drawn by the image's hash and the seed.
    """
    height, width = image.shape[:2]
    rows = min(max(round(share**0.5 * height), 1), height)
    columns = min(max(round(share * height * width / rows), 1), width)
    rng, result = seeding.numpy_generator("patch", seed, sha256), image.copy()
    top, left = rng.integers(height - rows, endpoint=True), rng.integers(width - columns, endpoint=True)
    area = slice(top, top + rows), slice(left, left + columns)
    result[area] = other[area]
    return result


def mix(image: Pixels, other: Pixels, share: float, sha256: str, seed: int) -> Pixels:
    """Return an image with a ``share`` of the pixels of another of its size; those of a smaller share among them."""
    taken = seeding.numpy_generator("mix", seed, sha256).random(image.shape[:2]) < share
    return np.where(taken[..., None], other, image)


def bisect(
    clean: Sequence[Pixels],
    moved: Sequence[Pixels],
    digests: Sequence[str],
    seed: int,
    score: Callable[[Sequence[Pixels]], NDArray[np.floating]],
    side: Callable[[float], int],
) -> list[Pixels]:
    """Return mixtures of images and where an attack moved them that are uncertain, as far as bisection finds any.

    ``side`` of a score is -1 (real), 0 (uncertain) or 1 (generated). Of an image whose two ends lie on one side, the
    moved end remains.
    """
    ends = [np.array([side(value) for value in score(images)]) for images in (clean, moved)]
    result = [a if first == 0 else b for a, b, first in zip(clean, moved, ends[0], strict=True)]
    todo = [index for index, (a, b) in enumerate(zip(*ends, strict=True)) if a * b == -1]
    low, high = np.zeros(len(clean)), np.ones(len(clean))
    for _ in range(ROUNDS):
        if not todo:
            break
        shares = (low + high) / 2
        mixed = [mix(clean[index], moved[index], shares[index], digests[index], seed) for index in todo]
        sides = [side(value) for value in score(mixed)]
        for index, image, reached in zip(todo, mixed, sides, strict=True):
            if reached == 0:
                result[index] = image
            (low if reached == ends[0][index] else high)[index] = shares[index]
        todo = [index for index, reached in zip(todo, sides, strict=True) if reached != 0]
    return result
