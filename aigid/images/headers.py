"""What a file's header tells without decoding a pixel: format, size, depth, JPEG tables, metadata."""

import re
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aigid.images.errors import ImageError, Status, classify_error
from aigid.images.formats import MAX_SEGMENTS, format_of, open_file, open_lazily, read_exactly

SOFTWARE = 0x0131  # EXIF and TIFF tag
# ITU-T T.81, table K.1: the luminance table that the IJG's quality scale multiplies.
LUMINANCE = np.fromstring(
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99",
    dtype=int,
    sep=" ",
)
# ITU-T T.81, figure A.6: place in row order -> place in a table as stored.
ZIGZAG = np.argsort(
    [r * 8 + c for r, c in sorted(np.ndindex(8, 8), key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))]
).tolist()
MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # within coded pixels: any but stuffing and restarts
SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}


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
    quantization_tables: tuple[tuple[int, ...], ...] = ()
    exif: bool = False
    software: str = ""
    icc: bool = False

    @property
    def quality(self) -> int | None:
        """The JPEG quality 1 to 100 of the IJG scale whose luminance table is nearest; None without tables."""
        return estimate_quality(self.quantization_tables[0]) if self.quantization_tables else None


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


def _jpeg(file: BinaryIO) -> dict:
    """ITU-T T.81, annex B: the segments before the first scan."""
    found: dict = {}
    tables: dict[int, tuple[int, ...]] = {}
    for marker, payload in _jpeg_segments(file):
        if marker == 0xDB:
            tables |= _quantisation(payload)
        elif marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            found |= {"exif": True, "software": software_tag(payload[6:])}
        elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
            found["icc"] = True
        elif 0xC0 <= marker <= 0xCF:
            bits, height, width, layers = struct.unpack_from(">BHHB", payload)
            mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(layers, "")
            if bits != 8 or not mode:
                raise ImageError(Status.UNSUPPORTED_PIXELS, f"JPEG with {layers} layers of {bits} bits")
            found |= {"width": width, "height": height, "mode": mode, "bits": bits}
            found |= {"progressive": marker in (0xC2, 0xC6, 0xCA, 0xCE), "subsampling": _sampling(payload[6:])}
    if "width" not in found:
        raise ImageError(Status.CORRUPT, "JPEG without a frame header")
    return found | {"quantization_tables": tuple(tables[slot] for slot in sorted(tables))}


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(marker, payload) up to the first scan; the payload of segments that tell nothing here is skipped."""
    file.seek(2)
    for _ in range(MAX_SEGMENTS):  # or bytes of junk in between, which decoders skip
        if read_exactly(file, 1) != b"\xff":
            continue
        marker = read_exactly(file, 1)[0]
        if marker == 0xFF:
            file.seek(-1, 1)
        elif marker == 0xDA:
            return
        elif marker in (0xDB, 0xE1, 0xE2) or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            yield marker, read_exactly(file, struct.unpack(">H", read_exactly(file, 2))[0] - 2)
        elif marker > 0x01 and not 0xD0 <= marker <= 0xD9:  # those stand alone
            file.seek(struct.unpack(">H", read_exactly(file, 2))[0] - 2, 1)
    raise ImageError(Status.CORRUPT, f"more than {MAX_SEGMENTS} JPEG segments")


def end_of_scan(data: bytes) -> int | None:
    """Where the coded pixels end in a baseline JPEG of one scan with Huffman coding; None for any other."""
    file = BytesIO(data)
    frames = [payload for marker, payload in _jpeg_segments(file) if marker in (0xC0, 0xC1)]
    length, layers = struct.unpack(">HB", read_exactly(file, 3))
    if not frames or frames[0][5] != layers:
        return None
    end = MARKER.search(data, file.tell() + length - 3)
    return end.start() if end else None


def _quantisation(payload: bytes) -> dict[int, tuple[int, ...]]:
    """Slot -> 64 values in row order, of each table in a DQT segment."""
    tables = {}
    while payload:
        wide, slot = divmod(payload[0], 16)
        values = struct.unpack_from(">64H" if wide else "64B", payload, 1)
        tables[slot] = tuple(values[place] for place in ZIGZAG)
        payload = payload[1 + (128 if wide else 64) :]
    return tables


def _sampling(components: bytes) -> str:
    """J:a:b of a colour JPEG's chroma, such as 4:2:0; "" for grey, four layers or an unnamed ratio."""
    factors = [divmod(components[i], 16) for i in range(1, len(components), 3)]
    if len(factors) != 3 or factors[1] != factors[2]:
        return ""
    across, down = factors[0][0] / max(factors[1][0], 1), factors[0][1] / max(factors[1][1], 1)
    return SUBSAMPLINGS.get((across, down), f"{across:g}x{down:g}")


@lru_cache(maxsize=4096)
def estimate_quality(table: tuple[int, ...]) -> int:
    """The IJG quality 1 to 100 whose luminance table has the least sum of absolute differences to ``table``."""
    return int(np.abs(_ijg_tables() - np.array(table)).sum(axis=1).argmin()) + 1


@lru_cache(maxsize=1)
def _ijg_tables() -> np.ndarray:
    """(100, 64): the luminance table at each quality, by jpeg_quality_scaling of the IJG's library."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def software_tag(tiff: bytes) -> str:
    """The Software tag of the first directory of an EXIF block (EXIF 2.32, 4.6.2); "" where absent or broken."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        start = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, start)[0]):
            tag, _, count, place = struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * entry)
            if tag == SOFTWARE:  # at most four characters stand in the entry itself
                place = place if count > 4 else start + 10 + 12 * entry
                return to_printable(tiff[place : place + count])
    except (KeyError, struct.error):
        pass
    return ""


def to_printable(text: bytes) -> str:
    """At most 64 printable characters, up to the first NUL."""
    return "".join(filter(str.isprintable, text.partition(b"\0")[0].decode("latin-1")))[:64].strip()


PARSERS = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
