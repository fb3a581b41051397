"""Safe decoding: any file in, (H, W, 3) uint8 RGB out, or an ImageError that names what is wrong.

Pixels are as stored but for: EXIF orientation applied; transparency laid on white; the first frame of an animation;
16-bit grey scaled to 8 (16-bit colour: Pillow's high byte); ICC profiles converted to sRGB (``color``); CMYK without
one by R = (255 - C)(255 - K) / 255. A JPEG of more pixels than the default limit, up to four times, is read at half its
sides.
Nothing of Pillow's global state is touched, so threads may decode at once. Memory: about 16 bytes a pixel at worst.
Whoever changes the pixels of any file raises ``aigid.core.cache.DECODING``.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
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


def decode(source: AnyPath | str | bytes, max_pixels: int | None = None) -> Pixels:
    """Return pixels (H, W, 3) uint8 RGB of a file or of a file's bytes; never raise but ImageError.

    ``max_pixels`` is by default ``$AIGID_MAX_PIXELS``.
    """
    return decode_with(source, lambda image: None, max_pixels)[0]


def decode_with(
    source: AnyPath | str | bytes, read: Callable[[ImageFile.ImageFile], T], max_pixels: int | None = None
) -> tuple[Pixels, T]:
    """Return the pixels as ``decode`` does, and what ``read`` gives of Pillow's image once all of it is loaded."""
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
            _halve(image, limit)
            image.load()
            _check_end(image, data, name, limit)
            return _rgb(image), read(image)
    except ImageError:
        raise
    except Exception as error:  # parsers of hostile bytes raise anything
        read_header(data)  # where the header itself is at fault, it says so better
        raise classify_error(error) from None


def is_plain_jpeg(data: bytes, max_pixels: int | None = None) -> bool:
    """Return whether libjpeg's pixels are those of ``decode``: a valid grey or RGB JPEG, upright, within limits."""
    try:
        if format_of(data[:1024]) != "JPEG":
            return False
        max_pixels = max_pixels or files.max_pixels(MAX_PIXELS)
        with open_lazily(data, "JPEG") as image:
            _check_size(*image.size, max_pixels)
            _check_cost(image, data, max_pixels)
            plain = image.mode in ("L", "RGB") and not image.has_transparency_data and color.is_srgb(image)
            return plain and _orientation(image) not in TRANSPOSE
    except Exception:
        return False


def has_flat_tail(image: Pixels) -> bool:
    """Return whether (H, W, 3) ends in equal pixels, where ``decode`` checks twice for coded pixels that stop early."""
    last = image[-1, [max(image.shape[1] - step, 0) for step in TAIL_OFFSETS]]
    return bool((last == last[0]).all())


def is_halved(image: ImageFile.ImageFile) -> bool:
    """Return whether ``decode`` read a JPEG at half its sides, as it has more pixels than the limit."""
    return getattr(image, "decoderconfig", ()) == (2, 0)


def _halve(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """Let libjpeg read a JPEG of more than ``max_pixels`` at half its sides, by the lowest quarter of its DCT."""
    if image.width * image.height > max_pixels:
        image.draft(None, (image.width // 2, image.height // 2))


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


def _check_end(image: ImageFile.ImageFile, data: bytes, name: str, max_pixels: int) -> None:
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
        _halve(again, max_pixels)
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
