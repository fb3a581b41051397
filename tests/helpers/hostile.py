"""Image files written byte by byte, so that what they hold is known without a decoder, and files that mean harm."""

import struct
import zlib
from functools import cache
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from aigid.images import decode as decoding
from aigid.images.formats import open_lazily

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth (H, W, 3) uint8 picture without symmetry, nowhere black or flat."""
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + 2 * x + y, 230 - 2 * x - y, 40 + 3 * y], axis=-1).clip(1, 254).astype(np.uint8)


def encode(pixels: np.ndarray, fmt: str, **options: object) -> bytes:
    """The file that Pillow writes."""
    file, image = BytesIO(), Image.fromarray(pixels)
    if fmt == "HEIC":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, fmt, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    size: tuple[int, int], depth: int, colour: int, raw: bytes, before: bytes = b"", interlace: int = 0
) -> bytes:
    """A PNG of filtered rows ``raw``, with the chunks ``before`` its pixels."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    data = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + data + chunk(b"IEND", b"")


def rows(pixels: np.ndarray) -> bytes:
    """Unfiltered PNG rows; 16-bit samples become big-endian."""
    return b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)


def png(pixels: np.ndarray, colour: int, before: bytes = b"") -> bytes:
    return png_of((pixels.shape[1], pixels.shape[0]), 8 * pixels.itemsize, colour, rows(pixels), before)


def png_adam7(pixels: np.ndarray) -> bytes:
    raw = b"".join(rows(pixels[y::dy, x::dx]) for x, y, dx, dy in ADAM7)
    return png_of((pixels.shape[1], pixels.shape[0]), 8, 2, raw, interlace=1)


def tiff(size: tuple[int, int], *more: tuple[int, int, int], pixels: bytes = b"") -> bytes:
    """A little-endian grey TIFF with one strip; ``more`` are (tag, type, value), type 3 short or 4 long."""
    default = {256: (4, size[0]), 257: (4, size[1]), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1)}
    default |= {278: (4, size[1]), 279: (4, len(pixels))} | {tag: (kind, value) for tag, kind, value in more}
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(default.items()))
    start = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return start + pixels + struct.pack("<H", len(default)) + entries + bytes(4)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def exif(orientation: int, software: bytes = b"") -> bytes:
    """A TIFF block with Orientation, and with Software where given."""
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)]
    if software:
        entries.append(struct.pack("<HHII", 0x0131, 2, len(software), 8 + 2 + 24 + 4))
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4) + software


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg_head(frame: int, width: int, height: int, bits: int = 8) -> bytes:
    """A grey JPEG up to its coded pixels: SOI, quantisation by ones, the frame header, conditioning, scan header."""
    sof = segment(frame, struct.pack(">BHHB", bits, height, width, 1) + b"\x01\x11\x00")
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    return b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + sof + segment(0xCC, b"\x00\x10\x10\x05") + scan


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    return jpeg[:2] + segment(marker, payload) + jpeg[2:]


def repeated_scans(times: int, side: int = 0) -> bytes:
    """A progressive JPEG, of a square where it has a side, whose last scan stands there ``times`` times more."""
    pixels = np.full((side, side, 3), 99, np.uint8) if side else picture()
    jpeg = encode(pixels, "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]


@cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """Name -> (status, bytes): small files that would become large in memory."""
    zeros = zlib.compress(bytes(10**8))
    small = picture(8, 8)
    canvas = struct.pack("<I", 0) + b"\xff" * 6
    return {
        "png_claims": ("too_many_pixels", png_of((10**5, 10**5), 8, 2, b"")),
        "png_bits": ("too_many_pixels", png_of((30_000, 30_000), 1, 0, bytes(30_000 * 3_751))),
        "tiff_deflate": ("too_many_pixels", tiff((50_000, 50_000), (259, 3, 8), pixels=zeros)),
        "tiff_tile": ("decompression_bomb", tiff((16, 16), (322, 4, 2**15), (323, 4, 2**15), (324, 4, 8), (325, 4, 9))),
        "webp_lossless": ("too_many_pixels", riff((b"VP8L", b"\x2f" + b"\xff" * 3 + b"\x0f" + bytes(9)))),
        "webp_canvas": ("too_many_pixels", riff((b"VP8X", canvas), (b"VP8L", bytes(10)))),
        "gif_screen": (
            "too_many_pixels",
            b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;",
        ),
        "bmp_claims": (
            "too_many_pixels",
            encode(small, "BMP")[:18] + struct.pack("<ii", 10**5, 10**5) + encode(small, "BMP")[26:],
        ),
        "ppm_claims": ("too_many_pixels", b"P6\n100000 100000\n255\n"),
        "png_text": ("decompression_bomb", png(small, 2, chunk(b"zTXt", b"Comment\0\0" + zeros))),
        "png_profile": ("decompression_bomb", png(small, 2, chunk(b"iCCP", b"p\0\0" + zeros))),
        "jpeg_scans": ("decompression_bomb", repeated_scans(500)),
        "jpeg_large_scans": ("decompression_bomb", repeated_scans(80, 4000)),
        "jpeg_segments": ("corrupt", repeated_scans(0).replace(b"\xff\xda", b"\xff\xfe\0\2" * 20_000 + b"\xff\xda", 2)),
    }


def frauds() -> dict[str, tuple[str, bytes]]:
    """Name -> (status, bytes): files that are no image, another image, or less than one."""
    content = picture()
    jpeg, flat = encode(content, "JPEG", quality=99), rows(content)
    return {
        "empty": ("empty", b""),
        "one_byte": ("not_an_image", b"\xff"),
        "html": ("not_an_image", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        "svg": ("unsupported_format", b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "postscript": ("unsupported_format", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "heic": ("corrupt", b"\0\0\0\x18ftypheic" + bytes(99)),
        "bmp_text": ("not_an_image", b"BMW is a maker of cars, and this is a text about them."),
        "bmp_rle": (
            "unsupported_format",
            encode(content[..., 0], "BMP")[:30] + b"\x01" + encode(content[..., 0], "BMP")[31:],
        ),
        "pgm_maxval": ("unsupported_format", b"P5\n2 2\n100\n" + bytes(4)),
        "png_0px": ("zero_size", png_of((0, 9), 8, 2, b"")),
        "jpeg_0px": ("zero_size", jpeg_head(0xC0, 9, 0) + b"\xff\xd9"),
        "gif_0px": ("zero_size", b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\x02\x4c\x01\0;"),
        "bmp_0px": ("zero_size", encode(content, "BMP")[:18] + bytes(8) + encode(content, "BMP")[26:]),
        "tiff_0px": ("zero_size", tiff((0, 9))),
        "webp_0px": ("zero_size", riff((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + bytes(4)))),
        "jpeg_12bit": ("unsupported_pixels", jpeg_head(0xC1, 8, 8, bits=12) + b"\xff\xd9"),
        "jpeg_cut": ("truncated", jpeg[: len(jpeg) * 3 // 4]),
        "jpeg_cut_ended": ("truncated", jpeg[: len(jpeg) * 3 // 4] + b"\xff\xd9"),
        "jpeg_no_end": ("truncated", jpeg[:-2]),
        "jpeg_header": ("truncated", jpeg[:30]),
        "png_half": ("truncated", png(content, 2)[:400]),
        "png_header": ("truncated", png(content, 2)[:20]),
        "png_fewer_rows": ("truncated", png_of((64, 48), 8, 2, flat[: len(flat) // 2])),
        "png_bad_crc": ("corrupt", png(content, 2).replace(b"IHDR\0\0\0\x40", b"IHDR\0\0\0\x41")),
        "webp_half": ("truncated", encode(content, "WEBP")[:100]),
        "gif_half": ("truncated", encode(content, "GIF")[:1200]),
        "bmp_half": ("truncated", encode(content, "BMP")[:4000]),
        "tiff_half": ("truncated", encode(content, "TIFF")[:4000]),
        "ppm_half": ("truncated", encode(content, "PPM")[:4000]),
        "avif_half": ("truncated", encode(content, "AVIF")[:-40]),
    }


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """``data`` after one to four of: bytes changed (mostly early ones), a piece cut or doubled, a number maxed."""
    data = bytearray(data)
    for _ in range(draw.integers(1, 5)):
        size = max(len(data), 1)
        position = int(draw.integers(min(size, 200) if draw.random() < 0.6 else size))
        length = int(draw.integers(1, 33))
        match draw.integers(6):
            case 0:
                data[position : position + 1] = draw.bytes(1)
            case 1:
                data[position : position + length] = draw.bytes(length)
            case 2:
                del data[position : position + length]
            case 3:
                data[position:position] = data[position : position + length]
            case 4:
                data[position : position + 4] = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\xff\xff"][
                    draw.integers(4)
                ]
            case 5 if draw.random() < 0.3:
                del data[int(draw.integers(size)) :]
    return bytes(data)


def is_plain(content):
    """Whether a JPEG is decoded by simplejpeg."""
    with open_lazily(content, "JPEG") as image:
        return decoding._plain_jpeg(image, content) is not None


def by_pillow(content, **options):
    """The pixels as Pillow alone decodes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_plain_jpeg", lambda *_: None)
        return decoding.decode(content, **options)
