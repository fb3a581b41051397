"""What becomes of an image without gradients: reconstructed by an autoencoder, in whole or in a patch; and mixtures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.images import Pixels

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
