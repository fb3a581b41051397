"""What a file's header tells without decoding a pixel: format, size, depth, JPEG tables, metadata."""

import struct
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from aigid.images.errors import ImageError, Status, classify_error
from aigid.images.formats import MAX_SEGMENTS, format_of, open_file, open_lazily, read_exactly
from aigid.images.jpeg import SOFTWARE, estimate_quality, jpeg_header, software_tag, to_printable


@dataclass(frozen=True, slots=True)
class Header:
    """A file's outside. ``width`` and ``height`` are as stored, before EXIF orientation; ``mode`` is Pillow's name."""

    format: str
    num_bytes: int
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 8
    progressive: bool = False
    subsampling: str = ""
    tables: tuple[tuple[int, ...], ...] = ()
    exif: bool = False
    software: str = ""
    icc: bool = False

    @property
    def quality(self) -> int | None:
        """The JPEG quality 1 to 100 of the IJG scale whose luminance table is nearest; None without tables."""
        return estimate_quality(self.tables[0]) if self.tables else None


def read_header(source: Path | str | bytes) -> Header:
    """The header of a file or of a file's bytes; ImageError where there is none."""
    with closing(BytesIO(source) if isinstance(source, bytes) else open_file(source)) as file:
        try:
            name = format_of(file.read(1024))
            num_bytes = file.seek(0, 2)
            file.seek(0)
            fields = PARSERS[name](file) if name in PARSERS else _by_pillow(file, name)
            found = Header(name, num_bytes, **fields)
        except ImageError:
            raise
        except Exception as error:  # parsers of hostile bytes raise anything
            raise classify_error(error) from None
    if found.width == 0 or found.height == 0:
        raise ImageError(Status.ZERO_SIZE, f"{found.width} x {found.height}")
    return found


def _png(file: BinaryIO) -> dict:
    """PNG (third edition), sections 5 and 11: the chunks before the first IDAT."""
    file.seek(8)
    found: dict = {}
    for _ in range(MAX_SEGMENTS):
        length, kind = struct.unpack(">I4s", read_exactly(file, 8))
        after = file.tell() + length + 4
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlace = struct.unpack(">IIBBBBB", read_exactly(file, 13))
            mode = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}.get(colour, "")
            found |= {"width": width, "height": height, "mode": mode, "bits": bits, "progressive": bool(interlace)}
        elif kind in (b"IDAT", b"IEND"):
            break
        elif kind == b"iCCP":
            found["icc"] = True
        elif kind == b"eXIf":
            found |= {"exif": True, "software": software_tag(file.read(min(length, 2**16)))}
        elif kind == b"tEXt":
            key, _, text = file.read(min(length, 2**8)).partition(b"\0")
            found |= {"software": to_printable(text)} if key == b"Software" else {}
        file.seek(after)
    if "width" not in found:
        raise ImageError(Status.CORRUPT, "PNG without a frame header")
    return found


def _webp(file: BinaryIO) -> dict:
    """RFC 9649, section 2: the canvas of VP8X or else of the one picture, and what the other chunks tell."""
    end = 8 + struct.unpack("<4xI4x", read_exactly(file, 12))[0]
    if file.seek(0, 2) < end:
        raise ImageError(Status.TRUNCATED, f"RIFF of {end} bytes ends early")
    found: dict = {"mode": "RGB"}
    after = 12
    for _ in range(MAX_SEGMENTS):
        file.seek(after)
        kind, length = struct.unpack("<4sI", read_exactly(file, 8))
        after = file.tell() + length + length % 2
        if kind == b"VP8X":
            flags, width, height = struct.unpack("<I3s3s", read_exactly(file, 10))
            found |= {"width": 1 + int.from_bytes(width, "little"), "height": 1 + int.from_bytes(height, "little")}
            found |= {"mode": "RGBA" if flags & 16 else "RGB", "icc": bool(flags & 32), "exif": bool(flags & 8)}
        elif kind == b"VP8 ":
            width, height = struct.unpack("<6x2H", read_exactly(file, 10))
            found = {"width": width & 0x3FFF, "height": height & 0x3FFF, "subsampling": "4:2:0"} | found
        elif kind == b"VP8L":
            bits = struct.unpack("<xI", read_exactly(file, 5))[0]
            mode = "RGBA" if bits >> 28 & 1 else found["mode"]
            found = {"width": 1 + (bits & 0x3FFF), "height": 1 + (bits >> 14 & 0x3FFF)} | found
            found |= {"subsampling": "4:4:4", "mode": mode}
        elif kind == b"EXIF":
            found["software"] = software_tag(file.read(min(length, 2**16)).removeprefix(b"Exif\0\0"))
        if after >= end:
            break
    return found


def _by_pillow(file: BinaryIO, name: str) -> dict:
    """GIF, BMP, TIFF, PPM and AVIF, which are rarer: Pillow's own reading of the header."""
    if name == "TIFF":
        _check_directory(file)
    try:
        image = open_lazily(file, name)
    except SyntaxError as error:
        if "not identified by this driver" in str(error):  # Pillow's words for a side of 0 pixels
            raise ImageError(Status.ZERO_SIZE, "0 pixels") from None
        raise
    exif = b"" if name == "TIFF" else image.info.get("exif", b"")
    found = {"width": image.width, "height": image.height, "mode": image.mode, "icc": "icc_profile" in image.info}
    found |= {"exif": bool(exif), "software": software_tag(exif.removeprefix(b"Exif\0\0"))}
    if name == "TIFF":
        wrote = str(image.tag_v2.get(SOFTWARE, "")).encode("latin-1", "ignore")
        found |= {
            "bits": image.tag_v2.get(258, (1,))[0],
            "exif": 0x8769 in image.tag_v2,
            "software": to_printable(wrote),
        }
    elif name == "AVIF":
        found |= _av1_depth(file)
    return found


def _check_directory(file: BinaryIO) -> None:
    """EOFError where a TIFF ends before or within its first directory (TIFF 6.0, section 2); Pillow goes on."""
    head = read_exactly(file, 8)
    order = "<" if head[:2] == b"II" else ">"
    version, start = struct.unpack_from(order + "2xHI", head)
    if version == 42:
        file.seek(start)
        read_exactly(file, 12 * struct.unpack(order + "H", read_exactly(file, 2))[0])
    file.seek(0)


def _av1_depth(file: BinaryIO) -> dict:
    """AV1-ISOBMFF, section 2.3: bits and chroma from the configuration box, or nothing where it is not found."""
    file.seek(0)
    _, box, rest = file.read(2**16).partition(b"av1C")
    if not box or len(rest) < 3:
        return {}
    bits = (12 if rest[2] & 0x20 else 10) if rest[2] & 0x40 else 8
    return {"bits": bits, "subsampling": {0: "4:4:4", 8: "4:2:2", 12: "4:2:0"}.get(rest[2] & 12, "")}


PARSERS = {"JPEG": jpeg_header, "PNG": _png, "WEBP": _webp}
