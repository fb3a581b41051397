"""Headers of image files, read without decoding a pixel: format, size, depth, JPEG tables, metadata."""

import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from aigid.core.paths import AnyPath
from aigid.images import ImageError, Status, classify_error
from aigid.images.formats import format_of, open_file, open_lazily
from aigid.images.structure import MAX_SEGMENTS, jpeg_segments, read_exactly

SOFTWARE = 0x0131  # EXIF and TIFF tag
# ITU-T T.81, table K.1: the luminance table that the IJG's quality scale multiplies.
LUMINANCE = np.fromstring(
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99",
    dtype=int,
    sep=" ",
)
# ITU-T T.81, figure A.6: position in row order -> position in a table as stored.
ZIGZAG = np.argsort(
    [r * 8 + c for r, c in sorted(np.ndindex(8, 8), key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))]
).tolist()
SUBSAMPLINGS: dict[tuple[float, float], str]
SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}
Fields = dict[str, Any]  # of a Header


@dataclass(frozen=True, slots=True)
class Header:
    """A file's header; ``width`` and ``height`` before EXIF orientation, ``mode`` as Pillow names it."""

    format: str
    num_bytes: int
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 8
    progressive: bool = False
    subsampling: str = ""
    quantization_tables: tuple[tuple[int, ...], ...] = ()
    exif: bool = False
    software: str = ""
    icc: bool = False

    @property
    def quality(self) -> int | None:
        """The nearest JPEG quality 1 to 100 of the IJG scale; None without quantization tables."""
        return estimate_quality(self.quantization_tables[0]) if self.quantization_tables else None


def read_header(source: AnyPath | str | bytes) -> Header:
    """Return the header of a file or of a file's bytes; ImageError where there is none."""
    with closing(BytesIO(source) if isinstance(source, bytes) else open_file(source)) as file:
        try:
            name = format_of(file.read(1024))
            num_bytes = file.seek(0, 2)
            file.seek(0)
            header = Header(name, num_bytes, **(PARSERS[name](file) if name in PARSERS else _by_pillow(file, name)))
        except ImageError:
            raise
        except Exception as error:  # parsers of hostile bytes raise anything
            raise classify_error(error) from None
    if header.width == 0 or header.height == 0:
        raise ImageError(Status.ZERO_SIZE, f"{header.width} x {header.height}")
    return header


def _png(file: BinaryIO) -> Fields:
    """Parse the chunks before the first IDAT (PNG, third edition, sections 5 and 11)."""
    file.seek(8)
    fields: Fields = {}
    for _ in range(MAX_SEGMENTS):
        length, kind = struct.unpack(">I4s", read_exactly(file, 8))
        end = file.tell() + length + 4
        if kind == b"IHDR":
            width, height, bits, color, _, _, interlace = struct.unpack(">IIBBBBB", read_exactly(file, 13))
            mode = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}.get(color, "")
            fields |= {"width": width, "height": height, "mode": mode, "bits": bits, "progressive": bool(interlace)}
        elif kind in (b"IDAT", b"IEND"):
            break
        elif kind == b"iCCP":
            fields["icc"] = True
        elif kind == b"eXIf":
            fields |= {"exif": True, "software": software_tag(file.read(min(length, 2**16)))}
        elif kind == b"tEXt":
            key, _, text = file.read(min(length, 2**8)).partition(b"\0")
            fields |= {"software": to_printable(text)} if key == b"Software" else {}
        file.seek(end)
    if "width" not in fields:
        raise ImageError(Status.CORRUPT, "PNG without a frame header")
    return fields


def _webp(file: BinaryIO) -> Fields:
    """Parse the chunks (RFC 9649, section 2): the canvas is that of VP8X, or else of the single frame."""
    riff_end = 8 + struct.unpack("<4xI4x", read_exactly(file, 12))[0]
    if file.seek(0, 2) < riff_end:
        raise ImageError(Status.TRUNCATED, f"RIFF of {riff_end} bytes ends early")
    fields: Fields = {"mode": "RGB"}
    end = 12
    for _ in range(MAX_SEGMENTS):
        file.seek(end)
        kind, length = struct.unpack("<4sI", read_exactly(file, 8))
        end = file.tell() + length + length % 2
        if kind == b"VP8X":
            flags, width, height = struct.unpack("<I3s3s", read_exactly(file, 10))
            fields |= {"width": 1 + int.from_bytes(width, "little"), "height": 1 + int.from_bytes(height, "little")}
            fields |= {"mode": "RGBA" if flags & 16 else "RGB", "icc": bool(flags & 32), "exif": bool(flags & 8)}
        elif kind == b"VP8 ":
            width, height = struct.unpack("<6x2H", read_exactly(file, 10))
            fields = {"width": width & 0x3FFF, "height": height & 0x3FFF, "subsampling": "4:2:0"} | fields
        elif kind == b"VP8L":
            bits = struct.unpack("<xI", read_exactly(file, 5))[0]
            mode = "RGBA" if bits >> 28 & 1 else fields["mode"]
            fields = {"width": 1 + (bits & 0x3FFF), "height": 1 + (bits >> 14 & 0x3FFF)} | fields
            fields |= {"subsampling": "4:4:4", "mode": mode}
        elif kind == b"EXIF":
            fields["software"] = software_tag(file.read(min(length, 2**16)).removeprefix(b"Exif\0\0"))
        if end >= riff_end:
            break
    return fields


def _by_pillow(file: BinaryIO, name: str) -> Fields:
    """Let Pillow read the header of the rarer formats: GIF, BMP, TIFF, PPM and AVIF."""
    if name == "TIFF":
        _check_directory(file)
    try:
        image: Any = open_lazily(file, name)
    except SyntaxError as error:
        if "not identified by this driver" in str(error):  # Pillow's words for a side of 0 pixels
            raise ImageError(Status.ZERO_SIZE, "0 pixels") from None
        raise
    fields = {"width": image.width, "height": image.height, "mode": image.mode, "icc": "icc_profile" in image.info}
    if name == "TIFF":
        software = to_printable(str(image.tag_v2.get(SOFTWARE, "")).encode("latin-1", "ignore"))
        bits = image.tag_v2.get(258, (1,))[0]
        return fields | {"bits": bits, "exif": 0x8769 in image.tag_v2, "software": software}
    exif = image.info.get("exif") or b""
    fields |= {"exif": bool(exif), "software": software_tag(exif.removeprefix(b"Exif\0\0"))}
    return fields | _av1_depth(file) if name == "AVIF" else fields


def _check_directory(file: BinaryIO) -> None:
    """Raise EOFError where a TIFF ends before or within its first directory (TIFF 6.0, section 2); Pillow goes on."""
    head = read_exactly(file, 8)
    order = "<" if head[:2] == b"II" else ">"
    version, start = struct.unpack_from(order + "2xHI", head)
    if version == 42:
        file.seek(start)
        read_exactly(file, 12 * struct.unpack(order + "H", read_exactly(file, 2))[0])
    file.seek(0)


def _av1_depth(file: BinaryIO) -> Fields:
    """Return bits and chroma from the configuration box (AV1-ISOBMFF, section 2.3), or nothing without one."""
    file.seek(0)
    _, box, rest = file.read(2**16).partition(b"av1C")
    if not box or len(rest) < 3:
        return {}
    bits = (12 if rest[2] & 0x20 else 10) if rest[2] & 0x40 else 8
    return {"bits": bits, "subsampling": {0: "4:4:4", 8: "4:2:2", 12: "4:2:0"}.get(rest[2] & 12, "")}


def _jpeg(file: BinaryIO) -> Fields:
    """Parse the segments before the first scan (ITU-T T.81, annex B)."""
    fields: Fields = {}
    tables: dict[int, tuple[int, ...]] = {}
    for marker, payload in jpeg_segments(file):
        if marker == 0xDB:  # tables of 64 values, each after a byte of precision and slot
            while payload:
                wide, slot = divmod(payload[0], 16)
                values = struct.unpack_from(">64H" if wide else "64B", payload, 1)
                tables[slot] = tuple(values[index] for index in ZIGZAG)
                payload = payload[1 + (128 if wide else 64) :]
        elif marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            fields |= {"exif": True, "software": software_tag(payload[6:])}
        elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
            fields["icc"] = True
        elif 0xC0 <= marker <= 0xCF:
            bits, height, width, layers = struct.unpack_from(">BHHB", payload)
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(layers, "")
            if bits != 8 or not mode:
                raise ImageError(Status.UNSUPPORTED_PIXELS, f"JPEG with {layers} layers of {bits} bits")
            fields |= {"width": width, "height": height, "mode": mode, "bits": bits}
            fields |= {"progressive": marker in (0xC2, 0xC6, 0xCA, 0xCE), "subsampling": _subsampling(payload[6:])}
    if "width" not in fields:
        raise ImageError(Status.CORRUPT, "JPEG without a frame header")
    return fields | {"quantization_tables": tuple(tables[slot] for slot in sorted(tables))}


def _subsampling(components: bytes) -> str:
    """Return J:a:b of a color JPEG's chroma, or its ratio where that has no name; "" for grey or four layers."""
    factors = [divmod(components[i], 16) for i in range(1, len(components), 3)]
    if len(factors) != 3 or factors[1] != factors[2]:
        return ""
    across, down = factors[0][0] / max(factors[1][0], 1), factors[0][1] / max(factors[1][1], 1)
    return SUBSAMPLINGS.get((across, down), f"{across:g}x{down:g}")


@lru_cache(maxsize=4096)
def estimate_quality(table: tuple[int, ...]) -> int:
    """Return the IJG quality whose luminance table (jpeg_quality_scaling) has the least L1 distance to ``table``."""
    return int(np.abs(_ijg_tables() - np.array(table)).sum(axis=1).argmin()) + 1


@lru_cache(maxsize=1)
def _ijg_tables() -> NDArray[np.int64]:
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: NDArray[np.int64] = np.clip((LUMINANCE * scale + 50) // 100, 1, 255)
    return tables


def software_tag(tiff: bytes) -> str:
    """Return Software of the first directory of an EXIF block (EXIF 2.32, 4.6.2); "" where absent or broken."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        start = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, start)[0]):
            tag, _, count, offset = struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * entry)
            if tag == SOFTWARE:  # at most four characters stand in the entry itself
                offset = offset if count > 4 else start + 10 + 12 * entry
                return to_printable(tiff[offset : offset + count])
    except (KeyError, struct.error):
        pass
    return ""


def to_printable(text: bytes) -> str:
    """Return at most 64 printable characters, up to the first NUL."""
    return "".join(filter(str.isprintable, text.partition(b"\0")[0].decode("latin-1")))[:64].strip()


PARSERS: dict[str, Callable[[BinaryIO], Fields]] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
