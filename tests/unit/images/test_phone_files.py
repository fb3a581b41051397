"""Files that phones and cameras make: which picture of several is read, and what is refused by its name."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.images.formats import format_of
from aigid.images.headers import read_header
from tests.helpers.hostile import encode, exif, picture

PICTURE, THUMBNAIL = picture(64, 96), picture(16, 24)
REDUCED, MASK = (254, 4, 1), (254, 4, 4)
DNG = (50706, 1, 0x00000401)


def tiff_pages(*pages: tuple[np.ndarray, tuple], order: str = "<", within: bool = False) -> bytes:
    """Two uncompressed RGB pictures with more tags (tag, type, value), the second a page or ``within`` the first."""
    data = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}H", 42) + bytes(4))
    link = 4  # where the offset of the next directory stands
    for number, (pixels, more) in enumerate(pages):
        bits, strip = len(data), len(data) + 8
        data += struct.pack(f"{order}4H", 8, 8, 8, 0) + pixels.tobytes()
        height, width = pixels.shape[:2]
        tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 3, bits), 259: (3, 1, 1), 262: (3, 1, 2)}
        tags |= {273: (4, 1, strip), 277: (3, 1, 3), 278: (4, 1, height), 279: (4, 1, pixels.size)}
        tags |= {tag: (kind, 4 if kind == 1 else 1, value) for tag, kind, value in more}
        tags |= {330: (4, 1, 0)} if within and not number else {}
        struct.pack_into(f"{order}I", data, link, len(data))
        data += struct.pack(f"{order}H", len(tags))
        for tag, (kind, count, value) in sorted(tags.items()):
            link = len(data) + 8 if tag == 330 else link
            form = "H2x" if kind == 3 and count == 1 else "I"
            data += struct.pack(f"{order}HHI{form}", tag, kind, count, value)
        link = link if within and not number else len(data)
        data += bytes(4)
    return bytes(data)


def message(data: bytes) -> str:
    with pytest.raises(ImageError) as error:
        decode(data)
    return str(error.value)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("within", [False, True])
def test_the_main_picture_of_a_tiff(order: str, within: bool) -> None:
    options = {"order": order, "within": within}
    for first, second in (((), ()), ((REDUCED,), ()), ((MASK,), ())):
        data = tiff_pages((THUMBNAIL, first), (PICTURE, second), **options)
        assert (decode(data) == PICTURE).all()
        assert (read_header(data).width, read_header(data).height) == (96, 64)
    data = tiff_pages((THUMBNAIL, ()), (PICTURE, (REDUCED,)), **options)
    assert (decode(data) == THUMBNAIL).all()
    pages = tiff_pages((PICTURE, ()), (PICTURE[::-1], ()), **options)
    assert (decode(pages) == PICTURE).all()
    out, more = io.BytesIO(), [Image.fromarray(PICTURE)]
    Image.fromarray(THUMBNAIL).save(out, "TIFF", big_tiff=True, save_all=True, append_images=more)
    assert (decode(out.getvalue()) == PICTURE).all()


@pytest.mark.parametrize("more", [(DNG, REDUCED), (DNG,)])
def test_raw_is_refused_and_no_thumbnail_judged(more: tuple, tmp_path: Path) -> None:
    dng = tiff_pages((THUMBNAIL, more), (PICTURE, ()), within=True)
    for name in ("a.dng", "a.tif"):
        (tmp_path / name).write_bytes(dng)
        for read in (decode, read_header):
            with pytest.raises(ImageError, match="unsupported_format: RAW is not read: develop it"):
                read(tmp_path / name)
    nef = tiff_pages((THUMBNAIL, (REDUCED,)), (PICTURE, ((262, 3, 32803),)), within=True)
    assert "RAW is not read" in message(nef)
    cr2 = b"II*\0\x10\0\0\0CR\x02\0" + bytes(100)
    for data in (cr2, b"IIU\0" + bytes(50), b"FUJIFILMCCD-RAW 0201", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"):
        assert "RAW is not read" in message(data)


def test_tiff_directories_in_a_circle_or_beyond_the_end() -> None:
    data = bytearray(tiff_pages((THUMBNAIL, (REDUCED,)), (PICTURE, ())))
    last = len(data) - 4
    for offset in (8, int.from_bytes(data[4:8], "little"), 2**32 - 1):
        struct.pack_into("<I", data, last, offset)
        assert (decode(bytes(data)) == PICTURE).all()


def test_floating_point_colors_are_named() -> None:
    colors = bytearray(tiff_pages((PICTURE.astype(np.float32).view(np.uint8), ((339, 3, 3), (256, 4, 96)))))
    struct.pack_into("<3H", colors, 8, 32, 32, 32)
    assert message(bytes(colors)) == "unsupported_pixels: TIFF of 3 samples of 32 bits, floating point"


def branded(data: bytes, *brands: bytes) -> bytes:
    """The file with other brands, the first of them the major one."""
    size = int.from_bytes(data[:4])
    old = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    assert len(old) + 4 <= size, "offsets in the file must hold"
    return data[:4] + old.ljust(size - 4, b"\0") + data[size:]


def test_heic() -> None:
    data = encode(PICTURE, "HEIC", quality=95)
    found = decode(data)
    assert found.shape == PICTURE.shape
    assert np.abs(found.astype(int) - PICTURE).mean() < 3
    header = read_header(data)
    assert (header.format, header.width, header.height, header.icc) == ("HEIC", 96, 64, False)
    turned = decode(encode(PICTURE, "HEIC", quality=95, exif=b"Exif\0\0" + exif(6)))
    assert np.abs(turned.astype(int) - np.rot90(PICTURE, -1)).mean() < 3
    assert "truncated" in message(data[: len(data) // 2])


@pytest.mark.parametrize("major", [b"heic", b"heix", b"heis", b"hevc", b"hevx", b"heim", b"hevm", b"mif1", b"msf1"])
def test_brands_of_heif(major: bytes) -> None:
    assert decode(branded(encode(PICTURE, "HEIC"), major, b"mif1", b"heic")).shape == PICTURE.shape
    avif = encode(PICTURE, "AVIF")
    assert format_of(branded(avif, b"mif1", b"mif1", b"avif")) == "AVIF"
    if major in (b"mif1", b"msf1"):  # where no brand tells, the coding does
        assert format_of(branded(avif, major)) == "AVIF"
        assert format_of(branded(encode(PICTURE, "HEIC"), major)) == "HEIC"


def test_what_is_missing_or_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for brand in (b"qt  ", b"isom", b"mp42", b"M4V "):
        assert message(b"\0\0\0\x14ftyp" + brand + bytes(8)) == "unsupported_format: a video, not an image"
    assert message(b"\xff\x0a" + bytes(20)).startswith("unsupported_format: JPEG XL is not among JPEG, PNG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert message(encode(PICTURE, "HEIC")).startswith(
        "unsupported_format: HEIC, whose reader is the package's extra heif"
    )
