"""Mixes of a photograph and its fake against the definitions and a slow transform."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn, idctn

from aigid.aligned import pairs
from aigid.degradations.filters import dct_mix, jpeg, match_jpeg_quality, pixel_mix
from aigid.images.decode import decode
from aigid.images.headers import read_header
from tests.helpers.images import crops


def test_a_pixel_mix_by_hand():
    photograph, fake = np.full((1, 2, 3), 100, np.uint8), np.full((1, 2, 3), 200, np.uint8)
    assert (pixel_mix(photograph, fake, 0.25) == 125).all()
    assert (dct_mix(photograph, fake, 0.25) == 175).all()  # the share is the photograph's
    assert (pixel_mix(photograph, fake, 0.0) == photograph).all()
    assert (dct_mix(photograph, fake, 0.0) == fake).all()


@pytest.mark.parametrize("share", [0.0, 0.37, 0.8])
def test_a_dct_mix_is_that_of_the_transforms(share):
    photograph, fake = crops(2, 40, 56)
    first, second = (dctn(image.astype(float), axes=(0, 1), norm="ortho") for image in (photograph, fake))
    slow = np.rint(np.clip(idctn(share * first + (1 - share) * second, axes=(0, 1), norm="ortho"), 0, 255))
    assert np.abs(slow - dct_mix(photograph, fake, share)).max() <= 1  # where half a level is rounded either way
    assert (slow != dct_mix(photograph, fake, share)).mean() < 0.02


def test_a_mix_keeps_its_brightness():
    photograph, fake = crops(2, 64, 64)
    wanted = 0.6 * fake.mean() + 0.4 * photograph.mean()
    assert pixel_mix(photograph, fake, 0.6).mean() == pytest.approx(wanted, abs=0.05)


def test_quality_alignment():
    fake = crops(1, 48, 48)[0]
    assert (match_jpeg_quality(fake, 100) == fake).all()
    assert (match_jpeg_quality(fake, 70) == jpeg(fake, 70)).all()
    assert (match_jpeg_quality(fake, None) == jpeg(fake, 96)).all()
    errors = [np.abs(match_jpeg_quality(fake, quality).astype(int) - fake).mean() for quality in (95, 70, 40)]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_a_photograph_compressed_twice_alike_is_as_if_once():
    """Why both members may be encoded: the photograph's own tables on its own grid change next to nothing."""
    for picture in crops(3, 64, 96):
        for options in ({"quality": 60, "subsampling": "4:4:4"}, {"quality": 88, "subsampling": "4:2:0"}):
            buffer = BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", **options)
            once = decode(buffer.getvalue())
            twice = decode(pairs.container_like(read_header(buffer.getvalue()), once, "own").encode(once))
            first, second = (np.abs(a.astype(int) - b).mean() for a, b in ((picture, once), (once, twice)))
            assert second < 0.35 * first
            shifted = np.roll(once, 3, axis=1)
            moved = np.roll(
                decode(pairs.container_like(read_header(buffer.getvalue()), once, "own").encode(shifted)), -3, axis=1
            )
            assert second < 0.5 * np.abs(once.astype(int) - moved).mean()
