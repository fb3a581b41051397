"""What makes any verdict unsafe, seen in the image alone: too few pixels, or a screenshot in place of a photograph."""

import numpy as np

FEWEST_PIXELS = 32  # of the shorter side
FLAT = 0.5  # share of pixels equal to both neighbours, above which an image looks drawn by a screen


def of_pixels(image: np.ndarray) -> tuple[str, ...]:
    """Of an image (H, W, 3) uint8, a line for each caution."""
    height, width = image.shape[:2]
    found = []
    if min(height, width) < FEWEST_PIXELS:
        found.append(f"{width} x {height} pixels: too small to say")
    elif may_be_flat(image) and (share := flatness(image)) > FLAT:
        found.append(f"{share:.0%} of it is flat, as in a screenshot or a drawing: not what detectors learn from")
    return tuple(found)


def may_be_flat(image: np.ndarray) -> bool:
    """Whether one channel along rows leaves it open; of most photographs that is all that need be looked at."""
    red = np.ascontiguousarray(image[:-1, :, 0])
    return np.count_nonzero(red[:, :-1] == red[:, 1:]) > FLAT * red[:, 1:].size


def flatness(image: np.ndarray) -> float:
    """Share of pixels that equal their right and their lower neighbour in all channels."""
    packed = image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
    here = packed[:-1, :-1]
    return float(np.mean((here == packed[:-1, 1:]) & (here == packed[1:, :-1]))) if here.size else 0.0
