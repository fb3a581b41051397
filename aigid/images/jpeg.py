"""The segments of a JPEG file (ITU-T T.81, annex B), by which its headers and the end of its pixels are found."""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from aigid.images import ImageError, Status

MAX_SEGMENTS = 10_000  # of a file that is cut into segments or chunks
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # within coded pixels: any but stuffing and restarts


def read_exactly(file: BinaryIO, length: int) -> bytes:
    """Read ``length`` bytes, or raise EOFError."""
    data = file.read(max(length, 0))
    if len(data) != length:
        raise EOFError
    return data


def jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, payload) of tables, metadata and frames up to the first scan; other payloads are skipped."""
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
    """Return where the coded pixels end in a baseline JPEG of one scan with Huffman coding; None for any other."""
    file = BytesIO(data)
    frames = [payload for marker, payload in jpeg_segments(file) if marker in (0xC0, 0xC1)]
    length, layers = struct.unpack(">HB", read_exactly(file, 3))
    if not frames or frames[0][5] != layers:
        return None
    match = MARKER.search(data, file.tell() + length - 3)
    end = match.start() if match else 0
    while end and data[end - 1] == 0xFF:  # which may fill up before a marker
        end -= 1
    return end or None


def num_scans(data: bytes) -> int:
    """Return how many scans a JPEG has up to its end; ImageError for more segments than any writer makes."""
    num, at = 0, 2
    for _ in range(MAX_SEGMENTS):
        match = MARKER.search(data, at)
        if match is None or data[match.end() - 1] == 0xD9:
            return num
        num += data[match.end() - 1] == 0xDA
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
    raise ImageError(Status.CORRUPT, f"more than {MAX_SEGMENTS} JPEG segments")
