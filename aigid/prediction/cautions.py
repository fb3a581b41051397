"""What makes any verdict unsafe, seen in the image alone: too few pixels, or a screenshot in place of a photograph."""

import numpy as np

FEWEST_PIXELS = 32  # of the shorter side
ROWS = 32  # of an image that are looked at, evenly spaced
FLAT = 0.5  # share of pixels equal to both neighbours, above which an image looks drawn by a screen


def of_pixels(image: np.ndarray) -> tuple[str, ...]:
    """Of an image (H, W, 3) uint8, a line for each caution."""
    height, width = image.shape[:2]
    found = []
    if min(height, width) < FEWEST_PIXELS:
        found.append(f"{width} x {height} pixels: too small to say")
    elif (share := flatness(image)) > FLAT:
        found.append(f"{share:.0%} of it is flat, as in a screenshot or a drawing: not what detectors learn from")
    return tuple(found)


def flatness(image: np.ndarray) -> float:
    """Share of pixels that equal their right and their lower neighbour in all channels, on at most ``ROWS`` rows."""
    rows = np.arange(0, len(image) - 1, -(-len(image) // ROWS))
    here, below = _packed(image[rows]), _packed(image[rows + 1])
    same = (here[:, :-1] == here[:, 1:]) & (here[:, :-1] == below[:, :-1])
    return float(np.mean(same)) if same.size else 0.0


def _packed(image: np.ndarray) -> np.ndarray:
    return image[..., 0].astype(np.uint32) << 16 | image[..., 1].astype(np.uint32) << 8 | image[..., 2]
