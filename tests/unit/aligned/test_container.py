"""Both members of a pair are encoded alike, and as the photograph's own file."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from aigid.aligned import pairs
from aigid.aligned.pairs import psnr
from aigid.images.decode import decode
from aigid.images.headers import read_header
from tests.helpers.images import crops


def file(picture, *arguments, mode="RGB", **options):
    buffer = BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, *arguments, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [5, 50, 83, 100])
def test_a_jpegs_tables_and_chroma_are_kept(quality, subsampling):
    picture, other = crops(2, 32, 48)
    source = read_header(file(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=True))
    written = pairs.container_like(source, picture, "own")
    heads = [read_header(written.encode(pixels)) for pixels in (picture, other)]
    for head in heads:
        assert (head.format, head.quantization_tables, head.subsampling) == (
            "JPEG",
            source.quantization_tables,
            subsampling,
        )
        assert head.quality == source.quality
        assert (head.progressive, head.exif, head.icc, head.software) == (False, False, False, "")
    assert written.name("a/b.jpeg") == "a/b.jpeg"
    assert written.name("a/b.png") == "a/b.png.jpg"


def test_a_grey_photograph_makes_a_grey_fake():
    picture, other = crops(2, 32, 48)
    for data in (file(picture, "JPEG", mode="L", quality=70), file(picture, "PNG", mode="L")):
        written = pairs.container_like(read_header(data), decode(data), "own")
        fake = written.encode(other)
        assert read_header(fake).mode == read_header(data).mode == "L"
        assert read_header(fake).quantization_tables == read_header(data).quantization_tables
        assert (decode(fake) == decode(fake)[..., :1]).all()


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "PNG", "TIFF"])
def test_other_formats_become_png(kind):
    picture = crops(1, 32, 48)[0]
    written = pairs.container_like(
        read_header(file(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))), picture, "own"
    )
    data = written.encode(picture)
    assert read_header(data).format == "PNG"
    assert (decode(data) == picture).all()
    assert [written.name(name) for name in ("a.PNG", "a.webp")] == ["a.PNG", "a.webp.png"]


def test_a_jpeg_as_png_on_demand():
    picture = crops(1, 32, 48)[0]
    written = pairs.container_like(read_header(file(picture, "JPEG")), picture, "png")
    assert (decode(written.encode(picture)) == picture).all()
    assert written.name("a.jpg") == "a.jpg.png"


def test_jpegs_that_pillow_would_not_write():
    """Four layers, and sixteen-bit tables, are brought to what it writes."""
    picture = crops(1, 32, 48)[0]
    cmyk = read_header(file(picture, "JPEG", mode="CMYK"))
    assert read_header(pairs.container_like(cmyk, picture, "own").encode(picture)).mode == "RGB"
    wide = replace(
        read_header(file(picture, "JPEG", quality=60)),
        quantization_tables=((300,) * 64, (17,) * 64),
        subsampling="4:1:1",
    )
    head = read_header(pairs.container_like(wide, picture, "own").encode(picture))
    assert head.quantization_tables == ((255,) * 64, (17,) * 64)
    assert head.subsampling == "4:2:0"


def test_psnr_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(51)) == pytest.approx(20 * np.log10(5))
    assert psnr(black, black) == 100
