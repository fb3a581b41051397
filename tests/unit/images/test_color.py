"""ICC profiles made here: pixels against littleCMS's own conversion and against the formulas."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from aigid.images import color
from aigid.images.decode import decode
from tests.helpers import profiles
from tests.helpers.hostile import chunk, encode, exif, is_plain, picture, png

PICTURE = picture()
FOREIGN = ("Display P3", "Adobe RGB", "ProPhoto")


def iccp(icc: bytes) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(icc))


def by_lcms(image: Image.Image, icc: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return np.asarray(ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"))


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize(("fmt", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_rgb_profiles(name: str, fmt: str, options: dict) -> None:
    icc = profiles.rgb(name)
    found = decode(encode(PICTURE, fmt, icc_profile=icc, **options))
    assert mean_difference(found, by_lcms(Image.fromarray(PICTURE), icc)) == 0
    assert mean_difference(found, profiles.to_srgb(PICTURE / 255, name) * 255) < 0.4
    assert mean_difference(found, PICTURE) > 2


@pytest.mark.parametrize("name", FOREIGN)
def test_a_picture_is_the_same_in_every_space(name: str) -> None:
    """Colors that sRGB holds, written in another space with 8 and 16 bits, come back."""
    shown = np.clip(PICTURE, 40, 215)
    values, icc = profiles.from_srgb(shown / 255, name), profiles.rgb(name)
    eight = encode((values * 255).round().astype(np.uint8), "PNG", icc_profile=icc)
    sixteen = png((values * 65535).round().astype(np.uint16), 2, iccp(icc))
    for data in (eight, sixteen):
        assert mean_difference(decode(data), shown) < 1


def test_jpegs_with_a_foreign_profile_take_the_slow_path() -> None:
    plain, p3, srgb = (
        encode(PICTURE, "JPEG", **options)
        for options in ({}, {"icc_profile": profiles.rgb("Display P3")}, {"icc_profile": profiles.rgb("sRGB")})
    )
    assert [is_plain(data) for data in (plain, p3, srgb)] == [True, False, True]
    assert (decode(srgb) == decode(plain)).all()
    assert (decode(p3) == by_lcms(Image.fromarray(decode(plain)), profiles.rgb("Display P3"))).all()


def test_grey() -> None:
    grey, icc = PICTURE[..., 0], profiles.grey(1.0)
    want = by_lcms(Image.fromarray(grey), icc)
    assert mean_difference(want, np.repeat(grey[..., None], 3, 2)) > 20
    assert (decode(encode(grey, "PNG", icc_profile=icc)) == want).all()
    sixteen = png(grey.astype(np.uint16) * 257, 0, iccp(icc))
    assert mean_difference(decode(sixteen), want) < 0.4
    assert mean_difference(want[..., 0], 255 * profiles.encode_tone(grey / 255)) < 0.4


def test_cmyk() -> None:
    ink = Image.fromarray(np.dstack([PICTURE, PICTURE[..., :1] // 2]), "CMYK")
    icc, out = profiles.cmyk(), io.BytesIO()
    ink.save(out, "TIFF", icc_profile=icc)
    want = by_lcms(ink, icc)
    assert (decode(out.getvalue()) == want).all()
    assert mean_difference(want, np.asarray(ink.convert("RGB"))) > 5
    out = io.BytesIO()
    ink.save(out, "JPEG", icc_profile=icc, quality=98)
    assert mean_difference(decode(out.getvalue()), want) < 6


def test_transparency_is_laid_on_white_after_the_conversion() -> None:
    icc, alpha = profiles.rgb("ProPhoto"), np.full((*PICTURE.shape[:2], 1), 255, np.uint8)
    alpha[:4] = 0
    found = decode(encode(np.dstack([PICTURE, alpha]), "PNG", icc_profile=icc))
    assert (found[:4] == 255).all()
    assert (found[4:] == by_lcms(Image.fromarray(PICTURE), icc)[4:]).all()
    grey, icc = np.dstack([PICTURE[..., :1], alpha]), profiles.grey(1.0)
    found = decode(encode(grey, "PNG", icc_profile=icc))
    assert (found[:4] == 255).all()
    assert (found[4:] == by_lcms(Image.fromarray(PICTURE[..., 0]), icc)[4:]).all()


def test_palette_and_rotation() -> None:
    icc = profiles.rgb("Adobe RGB")
    out, palette = io.BytesIO(), Image.fromarray(PICTURE).quantize(32)
    palette.save(out, "PNG", icc_profile=icc)
    assert (decode(out.getvalue()) == by_lcms(palette.convert("RGB"), icc)).all()
    turned = decode(encode(PICTURE, "PNG", icc_profile=icc, exif=exif(6)))
    assert (turned == np.rot90(by_lcms(Image.fromarray(PICTURE), icc), -1)).all()


def test_srgb_leaves_every_pixel() -> None:
    for icc in (profiles.rgb("sRGB"), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        data = encode(PICTURE, "PNG", icc_profile=icc)
        assert (decode(data) == PICTURE).all()


P3 = profiles.rgb("Display P3")


@pytest.mark.parametrize(
    ("icc", "why"),
    [
        (bytes(200), ""),
        (b"\0", ""),
        (P3[:200], ""),
        (P3[:128], ""),
        (P3.replace(b"RGB XYZ ", b"CMYKXYZ "), "for CMYK, and the image is RGB"),
        (profiles.grey(1.0), "for GRAY, and the image is RGB"),
        (profiles.cmyk(), "for CMYK, and the image is RGB"),
        (P3 + bytes(color.MAX_BYTES), f"limit {color.MAX_BYTES}"),
    ],
)
def test_what_is_no_profile_of_these_pixels_counts_as_none_and_is_said(icc: bytes, why: str) -> None:
    data = encode(PICTURE, "TIFF", icc_profile=icc)
    assert (decode(data) == PICTURE).all()
    with Image.open(io.BytesIO(data)) as image:
        error = color.profile_error(image)
    assert error
    assert why in error
    with Image.open(io.BytesIO(encode(PICTURE, "PNG", icc_profile=P3))) as image:
        assert color.profile_error(image) == ""


def test_a_profile_that_is_not_compressed_as_it_should_be_counts_as_none() -> None:
    data = png(PICTURE, 2, chunk(b"iCCP", b"p\0\0no zlib"))
    assert (decode(data) == PICTURE).all()
    with Image.open(io.BytesIO(data)) as image:
        assert color.profile_error(image) == "incomplete"
