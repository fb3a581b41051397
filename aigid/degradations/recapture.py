"""A screen photographed by a camera: its perspective, its pixels against the sensor's, its tone; strengths are ours."""

import numpy as np
from PIL import Image

from aigid.degradations.pixels import Floats, Pixels, RngOrNone, from_pil


def perspective(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Look at the image from the left and above, bicubic: of its upper and right edge a share ``amount`` is cut off."""
    height, width = image.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    source = corners + amount * np.array([(width, 0), (-width, height), (0, 0), (0, -height)])
    rows, right = [], []
    for (x, y), target in zip(corners, source, strict=True):
        for axis, value in enumerate(target):
            rows.append([x, y, 1, 0, 0, 0] if axis == 0 else [0, 0, 0, x, y, 1])
            rows[-1] += [-x * value, -y * value]
            right.append(value)
    coefficients = np.linalg.solve(np.array(rows, float), np.array(right)).tolist()
    picture = Image.fromarray(image)
    kind = Image.Transform.PERSPECTIVE
    return from_pil(picture.transform(picture.size, kind, coefficients, Image.Resampling.BICUBIC))


def moire(image: Floats, amplitude: float, pitch: float, angle: float, rng: RngOrNone = None) -> Floats:
    """Multiply by the beat of a screen's stripes, ``pitch`` px apart and turned by ``angle`` degrees, with the grid.

    What a sensor of one sample a pixel sees of the stripes is their frequency less the nearest whole one. Red, green
    and blue stripes lie a third of a period apart.
    """
    y, x = np.indices(image.shape[:2], np.float32)
    frequency = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) / pitch
    beat = (frequency - np.rint(frequency)).astype(np.float32)
    phase = 2 * np.pi * ((beat[0] * x + beat[1] * y)[..., None] + np.arange(3, dtype=np.float32) / 3)
    return np.asarray(image * (1 + np.float32(amplitude) * np.cos(phase)), np.float32)


def gamma(image: Floats, exponent: float, rng: RngOrNone = None) -> Floats:
    """Raise every value to a power."""
    return np.asarray(image ** np.float32(exponent))
