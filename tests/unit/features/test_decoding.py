"""The fast path against the exact one: the same pixels but for rounding, the same refusals for the same reasons."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

sys.path.append(str(Path(__file__).parents[2] / "data"))
from aigid.features.preprocess import DECODE_BACKENDS, Preprocess
from aigid.images import ImageError
from aigid.images.decode import is_plain_jpeg
from tests.helpers.hostile import bombs, encode, exif, frauds, mutated, picture, png, with_segment

EXACT, FAST = DECODE_BACKENDS["exact"], DECODE_BACKENDS["fast"]
PHOTOGRAPHS = [data.astronaut()[:371], data.chelsea(), data.coffee()[:, 1:], data.rocket()[3:], data.astronaut()]


def both(content):
    """What the two paths make of a file: pixels, or the name of the fault."""
    found = []
    for path in (EXACT, FAST):
        try:
            found.append(path.decode(content))
        except ImageError as error:
            found.append(str(error))
    return found


def upright(content):
    return with_segment(content, 0xE1, b"Exif\0\0" + exif(1))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"optimize": True}]
)
def test_plain_jpegs_decode_to_the_same_bytes(options):
    for photograph in PHOTOGRAPHS:
        for pixels in (photograph, photograph[..., 0]):  # colour and grey
            content = encode(pixels, "JPEG", **options)
            assert is_plain_jpeg(content)
            assert is_plain_jpeg(upright(content))
            np.testing.assert_array_equal(FAST.decode(content), EXACT.decode(content))


def odd():
    file = BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(file, "JPEG")
    jpeg = encode(picture(), "JPEG", quality=95)
    yield "cmyk", file.getvalue()
    yield from ((f"turned {n}", with_segment(jpeg, 0xE1, b"Exif\0\0" + exif(n))) for n in range(2, 9))
    yield "16 bits", png(picture()[..., 0].astype(np.uint16) * 256, 0)
    yield "png", encode(picture(), "PNG")
    yield "webp", encode(picture(), "WEBP")
    yield "rgb without transform", with_segment(jpeg, 0xEE, b"Adobe\0\x64\0\0\0\0\0")
    yield "flat", encode(np.full((40, 40, 3), 200, np.uint8), "JPEG")


@pytest.mark.parametrize(("name", "content"), list(odd()), ids=lambda value: value if isinstance(value, str) else "")
def test_odd_files_decode_to_the_same_bytes(name, content):
    exact, fast = both(content)
    np.testing.assert_array_equal(fast, exact)


def test_hostile_files_are_refused_for_the_same_reasons(capfd):
    for name, (status, content) in {**frauds(), **bombs()}.items():
        exact, fast = both(content)
        assert fast == exact, name
        assert fast.startswith(status)


def test_a_limit_of_pixels_is_asked_before_decoding():
    assert is_plain_jpeg(encode(picture(40, 50), "JPEG"), max_pixels=2000)
    assert not is_plain_jpeg(encode(picture(40, 50), "JPEG"), max_pixels=1999)


def test_damaged_jpegs_get_the_same_verdict(capfd):
    """Where a damaged file decodes at all, libjpeg's repair is the same in both."""
    draw = np.random.default_rng(0)
    whole = [encode(picture(), "JPEG", quality=quality, progressive=bool(quality % 2)) for quality in (60, 75, 95)]
    refused = 0
    for n in range(1500):
        exact, fast = both(mutated(whole[n % 3], draw))
        assert isinstance(exact, str) == isinstance(fast, str), n
        if isinstance(exact, str):
            refused += 1
            assert exact == fast, n
        else:
            np.testing.assert_array_equal(fast, exact)
    assert 100 < refused < 1400


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_squares_differ_by_rounding_alone(resize, interpolation):
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 256, (*draw.integers(20, 700, 2), 3)).astype(np.uint8) for _ in range(12)]
    values = seconds = 0
    for image in [*PHOTOGRAPHS, *noise]:
        for size in (32, 100, 224, 336):
            how = Preprocess(size=size, resize=resize, interpolation=interpolation)
            difference = np.abs(FAST.to_square(image, how).astype(int) - EXACT.to_square(image, how))
            if min(image.shape[:2]) >= 2 * size:
                assert difference.max() <= 1
            assert difference.max() <= 2
            values += difference.size
            seconds += (difference == 2).sum()
    assert seconds < 5e-6 * values


def test_what_is_not_resampled_is_the_same():
    for how in (Preprocess(size=64, resize="none"), Preprocess(size=64, interpolation="nearest")):
        for image in (data.chelsea(), data.chelsea()[:, ::-1]):
            np.testing.assert_array_equal(FAST.to_square(image, how), EXACT.to_square(image, how))


def test_arrays_that_torch_does_not_take_as_they_are():
    frozen = data.chelsea()
    frozen.flags.writeable = False
    how = Preprocess(size=64)
    for image in (frozen, frozen[::-1], frozen[:, ::-1]):
        assert np.abs(FAST.to_square(image, how).astype(int) - EXACT.to_square(image, how)).max() <= 1
