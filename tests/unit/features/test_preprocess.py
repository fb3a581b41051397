"""Squares are the libraries' own transforms, to the last bit; the fast path is the exact one but for rounding.

Both paths refuse the same files for the same reasons.
"""

from io import BytesIO

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision.transforms import CenterCrop

from aigid.features.preprocess import CLIP_MEAN, CLIP_STD, DECODE_BACKENDS, Preprocess, resize_and_crop
from aigid.images import ImageError
from aigid.images.decode import decode
from tests.helpers.hostile import bombs, by_pillow, encode, exif, frauds, is_plain, mutated, picture, png, with_segment

SIZES = [(224, 224), (300, 200), (201, 333), (37, 512), (31, 29), (225, 224), (1, 1)]
EXACT, FAST = DECODE_BACKENDS["exact"], DECODE_BACKENDS["fast"]
IMAGES = [data.astronaut()[:371], data.chelsea(), data.coffee()[:, 1:], data.rocket()[3:], data.astronaut()]


def photo(width, height):
    rng = np.random.default_rng([width, height])
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_equals_open_clip(width, height, resize):
    image = photo(width, height)
    ours = resize_and_crop(image, Preprocess(size=64, resize=resize)).astype(np.float32) / 255
    ours = (ours - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    theirs = open_clip.image_transform(64, is_train=False, resize_mode=resize, interpolation="bicubic")
    expected = theirs(Image.fromarray(image)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_resize_equals_torchvision_center_crop(width, height):
    image = photo(width, height)
    ours = resize_and_crop(image, Preprocess(size=64, resize="none"))
    theirs = CenterCrop(64)(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0)
    np.testing.assert_array_equal(ours, theirs.numpy())


def both(content):
    """What Pillow alone and our decoding make of a file: pixels, or the message of the error."""
    results = []
    for read in (by_pillow, decode):
        try:
            results.append(read(content))
        except ImageError as error:
            results.append(str(error))
    return results


def upright(content):
    return with_segment(content, 0xE1, b"Exif\0\0" + exif(1))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"optimize": True}]
)
def test_plain_jpegs_decode_to_the_same_bytes(options):
    num_plain = 0
    for image in IMAGES:
        for pixels in (image, image[..., 0]):  # color and gray
            content = encode(pixels, "JPEG", **options)
            num_plain += is_plain(content) and is_plain(upright(content))
            for short in (0, 12, 25, 50):  # read at all sizes that there are
                np.testing.assert_array_equal(decode(content, short=short), by_pillow(content, short=short))
    assert num_plain >= 8  # the others end in equal pixels


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


def test_a_limit_of_pixels_holds_before_decoding():
    content = encode(picture(40, 50), "JPEG")
    assert decode(content, max_pixels=2000).shape == (40, 50, 3)
    with pytest.raises(ImageError, match="50 x 40, limit 1999"):
        decode(content, max_pixels=1999)


def test_damaged_jpegs_get_the_same_verdict(capfd):
    """Where a damaged file decodes at all, libjpeg's repair is the same in both."""
    rng = np.random.default_rng(0)
    files = [encode(picture(), "JPEG", quality=quality, progressive=bool(quality % 2)) for quality in (60, 75, 95)]
    refused = 0
    for n in range(1500):
        exact, fast = both(mutated(files[n % 3], rng))
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
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*rng.integers(20, 700, 2), 3)).astype(np.uint8) for _ in range(12)]
    values = twos = 0
    for image in [*IMAGES, *noise]:
        for size in (32, 100, 224, 336):
            preprocess = Preprocess(size=size, resize=resize, interpolation=interpolation)
            difference = np.abs(FAST.to_square(image, preprocess).astype(int) - EXACT.to_square(image, preprocess))
            if min(image.shape[:2]) >= 2 * size:
                assert difference.max() <= 1
            assert difference.max() <= 2
            values += difference.size
            twos += (difference == 2).sum()
    assert twos < 5e-6 * values


def test_what_is_not_resampled_is_the_same():
    for preprocess in (Preprocess(size=64, resize="none"), Preprocess(size=64, interpolation="nearest")):
        for image in (data.chelsea(), data.chelsea()[:, ::-1]):
            np.testing.assert_array_equal(FAST.to_square(image, preprocess), EXACT.to_square(image, preprocess))


def test_arrays_that_torch_does_not_take_as_they_are():
    frozen = data.chelsea()
    frozen.flags.writeable = False
    preprocess = Preprocess(size=64)
    for image in (frozen, frozen[::-1], frozen[:, ::-1]):
        assert np.abs(FAST.to_square(image, preprocess).astype(int) - EXACT.to_square(image, preprocess)).max() <= 1


def test_a_resize_beyond_memory_is_refused_by_name() -> None:
    narrow = np.zeros((1, 65_500, 3), np.uint8)
    with pytest.raises(ImageError, match="too_many_pixels: 65500 x 1 at 224 px of the shorter side is 14672000 x 224"):
        resize_and_crop(narrow, Preprocess(size=224))
    assert resize_and_crop(narrow, Preprocess(size=224, resize="squash")).shape == (224, 224, 3)
    assert resize_and_crop(narrow[:, :9_000].repeat(9, 0), Preprocess(size=32)).shape == (32, 32, 3)


@pytest.mark.parametrize(("size", "factor"), [(12, 8), (13, 4), (24, 4), (25, 2), (49, 2), (50, 1)])
def test_a_draft_of_a_photograph_is_near_its_full_decoding(size, factor):
    """Where three times the size remain: at most 12 of 255 from it, 1.2 on average."""
    content = encode(data.chelsea()[:296, :368], "JPEG", quality=92)
    preprocess = Preprocess(size=size)
    image = decode(content, short=preprocess.resized)
    assert image.shape[:2] == (296 / factor, 368 / factor)
    difference = np.abs(FAST.to_square(image, preprocess).astype(int) - FAST.to_square(decode(content), preprocess))
    assert difference.max() <= 12
    assert difference.mean() <= 1.2
    for whole in (encode(data.chelsea(), "PNG"), encode(data.chelsea()[:297, :367], "JPEG")):
        np.testing.assert_array_equal(decode(whole, short=12), decode(whole))
