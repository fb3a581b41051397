"""What codecs and palettes do to pixels."""

from io import BytesIO

import numpy as np
from PIL import Image
from scipy.fft import dctn, idctn

from aigid.degrade.pixels import Pixels, Rng, from_pil, stored, unit


def jpeg(image: Pixels, quality: int, rng: Rng = None) -> Pixels:
    """Saved as JPEG by Pillow (4:2:0, standard tables) and read again."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return from_pil(Image.open(buffer))


def gif_quantization(image: Pixels, colors: int, rng: Rng = None) -> Pixels:
    """A palette of ``colors`` by octree, each pixel its nearest entry, no dithering.

    The source names no algorithm; Pillow's median cut is 40 times slower and farther from the image.
    """
    picture = Image.fromarray(image)
    palette = picture.quantize(colors, method=Image.Quantize.FASTOCTREE)
    return from_pil(picture.quantize(palette=palette, dither=Image.Dither.NONE))


def ringing(image: Pixels, threshold: float, rng: Rng = None) -> Pixels:
    """Codec ringing: AC coefficients below ``threshold`` vanish from the orthonormal 8x8 DCT of unit values.

    Only the range 0.05 to 0.3 is published; what a coarse quantiser zeroes is what rings around edges.
    """
    height, width = image.shape[:2]
    padded = np.pad(unit(image), ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3)
    coefficients = dctn(blocks, axes=(1, 3), norm="ortho")
    kept = np.abs(coefficients) >= threshold
    kept[:, 0, :, 0] = True
    blocks = idctn(coefficients * kept, axes=(1, 3), norm="ortho")
    return stored(blocks.reshape(padded.shape)[:height, :width])
