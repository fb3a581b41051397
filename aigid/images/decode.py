"""Safe decoding: any file in, (H, W, 3) uint8 RGB out, or an ImageError that names what is wrong.

Pixels are as stored but for: EXIF orientation applied; transparency laid on white; the first frame of an animation;
16-bit grey scaled to 8 (16-bit colour: Pillow's high byte); ICC profiles converted to sRGB (``color``); CMYK without
one by R = (255 - C)(255 - K) / 255. A JPEG of more pixels than the default limit, up to four times, is read at half its
sides. Plain JPEGs are decoded by simplejpeg, to the bytes of Pillow in half the time.
Nothing of Pillow's global state is touched, so threads may decode at once. Memory: about 16 bytes a pixel at worst.
Whoever changes the pixels of any file raises ``aigid.core.cache.DECODING``.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import simplejpeg
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from aigid.core import files
from aigid.core.limits import MAX_PIXELS, MAX_SCANNED_PIXELS, MAX_SCANS
from aigid.core.paths import AnyPath
from aigid.images import ImageError, Pixels, Status, classify_error, color
from aigid.images.formats import format_of, open_lazily, read_bytes
from aigid.images.headers import read_header
from aigid.images.structure import end_of_scan, num_scans

T = TypeVar("T")
BACKGROUND = (255, 255, 255)
HALVED = 4  # times the default limit that a JPEG may have, as it is then read at half its sides
SLOW_CODECS = {"bmp_rle", "ppm", "ppm_plain"}  # written in Python: minutes for a large image
REDUCING_GAP = 3.0  # times the side that is wanted, which reduced pixels still have (as in Pillow's `Image.resize`)
TAIL_OFFSETS = (1, 2, 5, 8)  # pixels from the end of the last row
NON_FLAT_BYTES = bytes(range(1, 255))
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: AnyPath | str | bytes, max_pixels: int | None = None, short: int = 0) -> Pixels:
    """Return pixels (H, W, 3) uint8 RGB of a file or of a file's bytes; never raise but ImageError.

    ``max_pixels`` is by default ``$AIGID_MAX_PIXELS``. A JPEG whose sides will be scaled to ``short`` or more is read
    at 1/2, 1/4 or 1/8 of them, where these are whole numbers and at least ``REDUCING_GAP`` times ``short``.
    """
    return decode_with(source, lambda image: None, max_pixels, short)[0]


def decode_with(
    source: AnyPath | str | bytes,
    read: Callable[[ImageFile.ImageFile], T],
    max_pixels: int | None = None,
    short: int = 0,
) -> tuple[Pixels, T]:
    """Return the pixels as ``decode`` does, and what ``read`` gives of Pillow's image, loaded unless it is a JPEG."""
    data = source if isinstance(source, bytes) else read_bytes(source)
    name, limit = format_of(data[:1024]), max_pixels or files.max_pixels(MAX_PIXELS)
    setting = "--max-pixels" if max_pixels else "$AIGID_MAX_PIXELS"
    if name in ("WEBP", "TIFF"):  # Pillow allocates the canvas of the one on opening, and reads on past the other's end
        header = read_header(data)
        _check_size(header.width, header.height, limit, setting)
    try:
        with open_lazily(data, name) as image:
            _check_size(*image.size, limit * (HALVED if _may_be_halved(image, data, limit) else 1), setting)
            _check_cost(image, data, limit)
            _reduce(image, limit, short)
            if (pixels := _plain_jpeg(image, data)) is None:
                image.load()
                _check_end(image, data, name, limit, short)
                pixels = _rgb(image)
            return pixels, read(image)
    except ImageError:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        read_header(data)  # where the header itself is at fault, it says so better
        raise classify_error(error) from None


def _plain_jpeg(image: ImageFile.ImageFile, data: bytes) -> Pixels | None:
    """Return the pixels of a valid grey or RGB JPEG, upright and in sRGB, as libjpeg-turbo has them; None of others."""
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB") or image.has_transparency_data:
        return None
    if not color.is_srgb(image) or _orientation(image) in TRANSPOSE:
        return None
    (width, height), factor = image.size, (image.decoderconfig or (1,))[0]
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, min_factor=factor)
    except ValueError:  # of which Pillow says what it is, or whether it can be read all the same
        return None
    tail = pixels[-1, [max(width - step, 0) for step in TAIL_OFFSETS]]
    flat = bool((tail == tail[0]).all())  # as where coded pixels stop early, which is checked below
    return None if flat or pixels.shape[:2] != (height, width) else pixels


def is_halved(image: ImageFile.ImageFile) -> bool:
    """Return whether ``decode`` read a JPEG at half its sides, as it has more pixels than the limit."""
    return getattr(image, "decoderconfig", ()) == (2, 0)


def _reduce(image: ImageFile.ImageFile, max_pixels: int, short: int) -> None:
    """Let libjpeg read a JPEG by the lowest part of its DCT: at half its sides where it has more than ``max_pixels``.

    Or by ``short``, see ``decode``.
    """
    (width, height), factor = image.size, 2 if image.width * image.height > max_pixels else 1
    for power in (2, 4, 8) if short else ():
        if width % power == height % power == 0 and min(width, height) >= power * REDUCING_GAP * short:
            factor = max(factor, power)
    if factor > 1:
        image.draft(None, (width // factor, height // factor))


def _may_be_halved(image: ImageFile.ImageFile, data: bytes, limit: int) -> bool:
    """Return whether a JPEG is larger than the default limit, and of one scan: of more all of it stands in memory."""
    if not isinstance(image, JpegImageFile) or not limit == MAX_PIXELS < image.width * image.height:
        return False
    return num_scans(data) == 1


def _check_size(width: int, height: int, limit: int, setting: str = "") -> None:
    if width * height > limit:
        raise ImageError(Status.TOO_MANY_PIXELS, f"{width} x {height}, limit {limit} pixels ({setting})")


def _check_cost(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Refuse what is small in pixels but not in memory or time."""
    if any(tile[0] in SLOW_CODECS for tile in image.tile):
        raise ImageError(Status.UNSUPPORTED_FORMAT, f"{image.format} with codec {image.tile[0][0]}")
    scans = num_scans(data) if image.info.get("progressive") else 0
    if scans > MAX_SCANS or scans * image.width * image.height > MAX_SCANNED_PIXELS:
        size = f"{scans} progressive scans of {image.width} x {image.height}"
        limits = f"limit {MAX_SCANS}, and {MAX_SCANNED_PIXELS} pixels in all"
        raise ImageError(Status.DECOMPRESSION_BOMB, f"{size}, {limits}")
    if isinstance(image, TiffImageFile):
        width, height = image.tag_v2.get(322, 1), image.tag_v2.get(323, 1)
        if width * height > max(max_pixels, 2**24):
            raise ImageError(Status.DECOMPRESSION_BOMB, f"TIFF tile of {width} x {height}")


def _check_end(image: ImageFile.ImageFile, data: bytes, name: str, max_pixels: int, short: int) -> None:
    """Refuse coded pixels that stop early but properly, where decoders go on in grey (JPEG) or black (PNG).

    Decoded again with noise after the last code (JPEG) or over a canvas that is not black (PNG), a whole image stays
    the same. Only an image whose last pixels are equal, as in that filling, needs this second look.
    """
    last = {image.getpixel((max(image.width - step, 0), image.height - 1)) for step in TAIL_OFFSETS}
    if name == "PNG" and last in ({0}, {(0, 0)}, {(0, 0, 0)}, {(0, 0, 0, 0)}):
        again = open_lazily(data, name)
        again.im = Image.new(again.mode, again.size, 1).im
    elif name == "JPEG" and len(last) == 1 and (end := end_of_scan(data)):
        again = open_lazily(data[:end] + NON_FLAT_BYTES + data[end:], name)
    else:
        return
    with again:
        _reduce(again, max_pixels, short)
        again.load()
        if again.tobytes() != image.tobytes():
            raise ImageError(Status.TRUNCATED, "the coded pixels stop early")


def _rgb(image: ImageFile.ImageFile) -> Pixels:
    eight = image if image.mode in ("RGB", "RGBA") else _eight_bit(image)
    flat = _flatten(eight, image.info.get("icc_profile"))
    turn = TRANSPOSE.get(_orientation(image))
    return np.array(flat if turn is None else flat.transpose(turn))


def _flatten(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return RGB in sRGB, transparency of any kind laid on BACKGROUND."""
    base = color.base_mode(image.mode)
    if not image.has_transparency_data:
        return color.to_srgb(image if image.mode == base else image.convert(base), profile)
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    opaque = color.to_srgb(rgba.convert("RGB") if base == "RGB" else image.convert(base), profile) if profile else rgba
    flat = Image.new("RGB", image.size, BACKGROUND)
    flat.paste(opaque, mask=rgba.getchannel("A"))
    return flat


def _eight_bit(image: ImageFile.ImageFile) -> Image.Image:
    """Convert 16-bit, 32-bit and floating-point grey to 8-bit grey; return any other image as it is."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        top = 1.0 if high <= 1 else 255.0
    else:
        top = 4095 if isinstance(image, TiffImageFile) and image.tag_v2.get(258) == (12,) else 65535
    if not (low >= 0 and high <= top):  # also when there is a NaN
        raise ImageError(Status.UNSUPPORTED_PIXELS, f"mode {image.mode} with values {low} to {high}, want 0 to {top}")
    grey = Image.fromarray(np.rint(values * np.float32(255 / top)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation 1 to 8; 1 where EXIF is absent or broken."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF says nothing of the pixels
        return 1
