"""Image formats: how a file is recognized and opened."""

import os
import re
import stat
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from aigid.core.errors import InputError
from aigid.core.limits import MAX_FILE_BYTES as MAX_BYTES
from aigid.core.paths import AnyPath, RemotePath, as_path, is_remote
from aigid.images import STATUS_BY_ERRNO, ImageError, Status, archives, is_member, structure


def _open_heic(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        message = "HEIC, whose reader is the package's extra heif: pip install 'aigid[heif]'"
        raise ImageError(Status.UNSUPPORTED_FORMAT, message) from None
    reader: type[ImageFile.ImageFile] = HeifImageFile
    return reader(file)


def _open_tiff(file: BinaryIO) -> ImageFile.ImageFile:
    file = structure.main_picture(file)
    try:
        return TiffImageFile(file)
    except SyntaxError as error:
        if "unknown pixel mode" in str(error):
            raise ImageError(Status.UNSUPPORTED_PIXELS, f"TIFF of {structure.describe_samples(file)}") from None
        raise


# Pillow's readers, called by name: Image.open would also try EPS (Ghostscript), WMF and forty others.
# An MPO file is a JPEG followed by further ones; as a JPEG it gives its first picture.
READERS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": _open_tiff,
    "PPM": PpmImageFile,
    "AVIF": AvifImageFile,
    "HEIC": _open_heic,
}

# format -> (offset, bytes) of which one must match; a format that is not in READERS is known, but not read.
SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "WEBP": ((8, b"WEBPVP8 "), (8, b"WEBPVP8L"), (8, b"WEBPVP8X")),
    "GIF": ((0, b"GIF87a"), (0, b"GIF89a")),
    "RAW": ((8, b"CR\x02\0"), (0, b"IIU\0"), (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"FUJIFILMCCD-RAW")),
    "TIFF": tuple((0, mark) for mark in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")),
    "PPM": tuple((0, mark + space) for mark in (b"P4", b"P5", b"P6", b"Pf") for space in (b" ", b"\t", b"\n", b"\r")),
    "BMP": tuple((14, bytes([size, 0, 0, 0])) for size in (12, 40, 52, 56, 64, 108, 124)),
    "JPEG XL": ((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL ")),
    "JPEG 2000": ((0, b"\0\0\0\x0cjP  "), (0, b"\xff\x4f\xff\x51")),
    "plain PPM": ((0, b"P1\n"), (0, b"P2\n"), (0, b"P3\n")),
    "PSD": ((0, b"8BPS"),),
    "ICO": ((0, b"\0\0\1\0"),),
    "PostScript": ((0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")),
    "PDF": ((0, b"%PDF"),),
    "EXR": ((0, b"\x76\x2f\x31\x01"),),
    "DDS": ((0, b"DDS "),),
    "video": ((0, b"\x1aE\xdf\xa3"), (8, b"AVI "), (4, b"moov"), (4, b"mdat"), (0, b"\0\0\1\xba")),
}
# Brands of ISO base media files (ISO/IEC 14496-12, 4.3); STRUCTURAL ones (ISO/IEC 23008-12) do not say how pixels are
# coded. Any other is a video's.
BRANDS: dict[bytes, str] = dict.fromkeys((b"avif", b"avis"), "AVIF") | {b"crx ": "RAW"}
BRANDS |= dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC")
STRUCTURAL = {b"mif1", b"mif2", b"msf1", b"miaf"}
NOT_PICTURES = {"video", "PDF", "PostScript", "ICO", "DDS"}
REFUSED = {"RAW": structure.RAW, "video": "a video, not an image"}


def open_file(path: AnyPath | str) -> BinaryIO:
    """Open a local or remote regular file, or an archive's member; a folder, pipe or device is never opened."""
    if is_member(path):
        return BytesIO(archives.read(path))
    try:
        file = as_path(path)
        if isinstance(file, RemotePath):
            return BytesIO(file.read_bytes(max_bytes=MAX_BYTES))
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
            raise ImageError(Status.NOT_A_FILE, f"is a {kinds.get(stat.S_IFMT(status.st_mode), 'device')}")
        if status.st_size > MAX_BYTES:
            raise ImageError(Status.TOO_MANY_BYTES, f"{status.st_size} bytes, limit {MAX_BYTES}")
        return file.open("rb", buffering=2**14)
    except OSError as error:
        reason = STATUS_BY_ERRNO.get(error.errno or 0, Status.UNREADABLE)
        hint = similar_name(Path(str(path))) if reason == Status.MISSING and not is_remote(path) else ""
        raise ImageError(reason, (error.strerror or str(error)) + hint) from None
    except InputError:
        raise
    except ValueError as error:  # a NUL or a lone surrogate in the name
        raise ImageError(Status.MISSING, str(error)) from None


def similar_name(path: Path) -> str:
    """Return ``; there is NAME`` for a missing file, where a name differs in case, Unicode form or leading zeros.

    Or where it is there by slashes in place of Windows' backslashes.
    """
    if "\\" in path.name and os.path.lexists(other := str(path).replace("\\", "/")):
        return f"; there is {other}"
    folder, *rest = path.parents
    missing = path
    while not folder.is_dir() and rest:
        missing, folder, rest = folder, rest[0], rest[1:]
    try:
        names = _names(str(folder), folder.stat().st_mtime_ns).get(_plain(missing.name), ())
    except (OSError, ValueError):
        return ""
    others = [name for name in names if name != missing.name]
    return f"; there is {', '.join(others[:3])}" if others else ""


@lru_cache(maxsize=64)
def _names(folder: str, _change_token: int) -> dict[str, list[str]]:
    """Return the names in a folder by what is left of them without case, Unicode form and leading zeros."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):  # noqa: PTH208
        names.setdefault(_plain(name), []).append(name)
    return names


def _plain(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", unicodedata.normalize("NFC", name).casefold())


def failure(path: AnyPath | str) -> str:
    """Return why a file cannot be read."""
    try:
        read_bytes(path)
    except ImageError as error:
        return str(error)
    return "could not be read, and now can"


def read_bytes(path: AnyPath | str) -> bytes:
    """Return all bytes of a file, for hashing and decoding from a single read."""
    with open_file(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise ImageError(Status.UNREADABLE, error.strerror or str(error)) from None


def format_of(head: bytes) -> str:
    """Return the format, a key of READERS, by a file's first bytes (1 KiB is plenty), never by its name."""
    if not head:
        raise ImageError(Status.EMPTY, "0 bytes")
    if name := _media_format(head) or _signed_format(head):
        if name in READERS:
            return name
        message = REFUSED.get(name) or f"{name} is not among {', '.join(READERS)}"
        raise ImageError(Status.UNSUPPORTED_FORMAT, message)
    if b"<svg" in head[:1024].lower():
        raise ImageError(Status.UNSUPPORTED_FORMAT, "SVG is a drawing, not a raster image")
    raise ImageError(Status.NOT_AN_IMAGE, f"starts with {head[:8]!r}")


def is_picture(path: AnyPath | str) -> bool:
    """Return whether a file begins as a picture does, in a format that is read or not."""
    try:
        with open_file(path) as file:
            head = file.read(1024)
    except (ImageError, OSError):
        return False
    name = _media_format(head) or _signed_format(head)
    return bool(name) and name not in NOT_PICTURES


def _signed_format(head: bytes) -> str:
    for name, marks in SIGNATURES.items():
        if any(head.startswith(mark, offset) for offset, mark in marks) and (name != "BMP" or head[:2] == b"BM"):
            return name
    return ""


def _media_format(head: bytes) -> str:
    """Return the format of an ISO base media file by its major brand, else by those that follow it; "" of any other."""
    if head[4:8] != b"ftyp":
        return ""
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), len(head)), 4))]
    if name := next((BRANDS[brand] for brand in brands if brand in BRANDS), ""):
        return name
    return ("AVIF" if b"av01" in head else "HEIC") if STRUCTURAL.intersection(brands) else "video"


def open_lazily(file: BinaryIO | bytes, name: str) -> ImageFile.ImageFile:
    """Return Pillow's image, its header read and no pixel decoded; raises whatever Pillow raises."""
    return READERS[name](BytesIO(file) if isinstance(file, bytes) else file)
