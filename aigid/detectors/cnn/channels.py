"""The side channels of an image, as 8-bit pictures beside its pixels."""

import numpy as np
from PIL import Image

Pixels = np.ndarray


def luma(image: Pixels) -> Pixels:
    """(S, S, 3) uint8 to (S, S) uint8 by Rec. 601, as Pillow's mode "L"."""
    return np.asarray(Image.fromarray(image).convert("L"))


def frequency(image: Pixels, wrap: bool = False) -> Pixels:
    """The spectrum of an image (S, S, 3) uint8: 20 ln |F| of its luma, lowest frequency in the middle, (S, S) uint8.

    Values beyond 0 to 255 are clipped; with ``wrap`` they are taken modulo 256, as in the published code.
    """
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luma(image).astype(np.float64))))
    levels = 20 * np.log(magnitude + 1e-8)
    if wrap:
        return (np.trunc(levels).astype(np.int64) % 256).astype(np.uint8)
    return np.clip(levels, 0, 255).astype(np.uint8)


def error(image: Pixels, remade: np.ndarray, offset: bool = False) -> Pixels:
    """What an autoencoder gets wrong, (S, S) uint8: the luma of e/2, e = |x - x'| with pixels on the scale -1 to 1.

    ``image`` (S, S, 3) uint8, ``remade`` (S, S, 3) float32 in about [-1, 1]. With ``offset`` the published e/2 + 1/2.
    """
    wrong = np.abs(image.astype(np.float32) / 127.5 - 1 - remade) / 2 + (0.5 if offset else 0)
    return luma((np.clip(wrong, 0, 1) * 255).astype(np.uint8))
