"""The one thing that an audit asks of an EXIF block: which software wrote it."""

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO

import numpy as np

from aigid.images.errors import ImageError, Status
from aigid.images.formats import MAX_SEGMENTS, read_exactly

SOFTWARE = 0x0131


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


# The segments before a JPEG's first scan: size, quantisation tables and the quality they betray, chroma sampling.

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


def jpeg_header(file: BinaryIO) -> dict:
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
    return found | {"tables": tuple(tables[slot] for slot in sorted(tables))}


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
