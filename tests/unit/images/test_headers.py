"""aigid.images.headers against what the encoder was told, Pillow's own attributes, and blocks written by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigid.images import ImageError
from aigid.images.formats import READERS
from aigid.images.headers import estimate_quality, read_header
from tests.helpers.hostile import bombs, chunk, encode, exif, frauds, picture, png, riff, tiff, with_segment

PICTURE = picture()


@pytest.mark.parametrize("fmt", READERS)
def test_size_and_format(tmp_path: Path, fmt: str) -> None:
    path = tmp_path / "any.dat"
    path.write_bytes(encode(PICTURE, fmt))
    found = read_header(path)
    assert (found.format, found.width, found.height, found.num_bytes) == (fmt, 64, 48, path.stat().st_size)
    assert found.mode == ("P" if fmt == "GIF" else "RGB")
    assert (found.exif, found.icc, found.software) == (False, False, "")
    assert found == read_header(path.read_bytes())


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_the_encoders(quality: int) -> None:
    assert read_header(encode(PICTURE, "JPEG", quality=quality)).quality == quality


def test_quality_of_a_foreign_table_is_the_nearest() -> None:
    table = np.array(read_header(encode(PICTURE, "JPEG", quality=70)).quantization_tables[0])
    draw = np.random.default_rng(0)
    assert abs(estimate_quality(tuple((table + draw.integers(-1, 2, 64)).tolist())) - 70) <= 1
    assert estimate_quality((1,) * 64) == 100
    assert read_header(png(PICTURE, 2)).quality is None


@pytest.mark.parametrize(("subsampling", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_jpeg_tables_and_sampling(subsampling: int, name: str) -> None:
    data = encode(PICTURE, "JPEG", quality=83, subsampling=subsampling, progressive=bool(subsampling))
    found = read_header(data)
    tables = Image.open(io.BytesIO(data)).quantization
    assert found.quantization_tables == tuple(tuple(tables[slot]) for slot in sorted(tables))
    assert (found.subsampling, found.progressive) == (name, bool(subsampling))
    assert read_header(encode(PICTURE[..., 0], "JPEG")).subsampling == ""


def test_depth_and_mode() -> None:
    grey = np.zeros((2, 2), np.uint16)
    assert (read_header(png(grey, 0)).bits, read_header(png(grey, 0)).mode) == (16, "L")
    assert read_header(tiff((2, 2), (258, 3, 16), pixels=grey.tobytes())).bits == 16
    rgba = np.dstack([PICTURE, PICTURE[..., 0]])
    for options in ({}, {"lossless": True}):
        assert read_header(encode(rgba, "WEBP", **options)).mode == "RGBA"
    assert read_header(encode(PICTURE, "WEBP", lossless=True)).subsampling == "4:4:4"
    assert read_header(encode(PICTURE, "WEBP")).subsampling == "4:2:0"
    assert read_header(encode(PICTURE, "AVIF", subsampling="4:4:4")).subsampling == "4:4:4"


@pytest.mark.parametrize("name", [b"GIMP\0", b"Midjourney 6\0"])
def test_software_exif_and_profile(name: bytes) -> None:
    block, profile = exif(1, name), bytes(200)
    files = [encode(PICTURE, fmt, exif=block, icc_profile=profile) for fmt in ("PNG", "WEBP", "AVIF")]
    files.append(with_segment(encode(PICTURE, "JPEG", icc_profile=profile), 0xE1, b"Exif\0\0" + block))
    for data in files:
        found = read_header(data)
        assert (found.exif, found.icc, found.software) == (True, True, name[:-1].decode()), found.format
    assert read_header(png(PICTURE, 2, chunk(b"tEXt", b"Software\0" + name))).software == name[:-1].decode()
    assert read_header(encode(PICTURE, "TIFF", tiffinfo={305: name[:-1].decode()})).software == name[:-1].decode()


@pytest.mark.parametrize(
    "block", [b"", b"II", b"MM\0*\xff\xff\xff\xff", exif(1, b"camera\0")[:38], b"II*\0\x08\0\0\0\xff\xff"]
)
def test_broken_exif_has_no_software(block: bytes) -> None:
    found = read_header(png(PICTURE, 2, chunk(b"eXIf", block)))
    assert (found.exif, found.software) == (True, "")


def test_frauds_fail_here_unless_the_fault_comes_later() -> None:
    whole = {"bmp_rle", "pgm_maxval", "png_fewer_rows", "png_bad_crc", "jpeg_cut", "jpeg_cut_ended", "jpeg_no_end"}
    whole |= {"png_half", "gif_half", "bmp_half", "ppm_half", "tiff_half", "avif_half"}
    for name, (status, data) in frauds().items():
        if name in whole:
            assert read_header(data).width, name
            continue
        with pytest.raises(ImageError) as fault:
            read_header(data)
        assert fault.value.status == status, name


def test_bombs_show_their_size() -> None:
    for name, (status, data) in bombs().items():
        if status == "too_many_pixels":
            found = read_header(data)
            assert found.width * found.height > 10**8, name
    assert read_header(riff((b"VP8X", bytes(10)), (b"VP8L", b"\x2f" + bytes(9)))).width == 1
