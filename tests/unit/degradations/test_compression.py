from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from aigid.degradations import filters

IMAGE = np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.mark.parametrize("quality", [4, 65, 96])
def test_jpeg_is_pillows_round_trip(quality):
    buffer = BytesIO()
    Image.fromarray(IMAGE).save(buffer, format="JPEG", quality=quality)
    assert np.array_equal(filters.jpeg(IMAGE, quality), np.asarray(Image.open(BytesIO(buffer.getvalue()))))


@pytest.mark.parametrize("colors", [128, 16])
def test_gif_quantization_leaves_that_many_colors(colors):
    distinct = np.unique(filters.gif_quantization(IMAGE, colors).reshape(-1, 3), axis=0)
    assert colors / 2 < len(distinct) <= colors


def test_ringing_at_zero_keeps_the_image():
    assert np.array_equal(filters.ringing(IMAGE, 0), IMAGE)


def test_ringing_removes_a_faint_wave_and_keeps_a_strong_one():
    # A cosine of the DCT basis with amplitude a has the single orthonormal coefficient a * 8 / sqrt(2).
    wave = np.cos(np.pi * (2 * np.arange(8) + 1) * 3 / 16)
    threshold = 0.1 * 8 / 2**0.5

    def ring(amplitude: float) -> np.ndarray:
        row = np.rint(255 * (0.5 + amplitude * wave)).astype(np.uint8)
        return np.broadcast_to(row[None, :, None], (8, 8, 3)), filters.ringing(
            np.tile(row[None, :, None], (8, 1, 3)), threshold
        )

    faint, gone = ring(0.09)
    assert np.ptp(faint) > 40
    assert np.ptp(gone) == 0
    strong, kept = ring(0.2)
    assert np.abs(kept.astype(int) - strong).max() <= 1
