"""The structure of JPEG (ITU-T T.81, annex B) and TIFF files: segments and scans; directories and the main picture."""

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


Directory = dict[int, tuple[int, ...]]  # values by tag, of the tags in TAGS
NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 255, 256, 257, 262, 330, 50706
BITS, SAMPLE_FORMAT = 258, 339
TAGS = (NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, PHOTOMETRIC, SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION)
TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # bytes, shorts, longs, offsets
RAW_PHOTOMETRICS = (32803, 34892)  # color filter array, linear raw
MAX_DIRECTORIES, MAX_ENTRIES, MAX_VALUES = 1000, 4096, 256
BIG = (b"+\0", b"\0+")  # the version of BigTIFF
RAW = "RAW is not read: develop it to JPEG, PNG or TIFF"


def main_picture(file: BinaryIO) -> BinaryIO:
    """Return a file whose first directory is the main picture: of those not reduced and no mask, the largest.

    The first of equal ones, as pages are; without one the first. ImageError for RAW. TIFF 6.0, section 8; DNG 1.7.
    """
    order, directories = _read(file)
    pictures = [(offset, tags) for offset, tags in directories if not _is_secondary(tags)]
    if any(DNG_VERSION in tags for _, tags in directories) or any(
        _value(tags, PHOTOMETRIC) in RAW_PHOTOMETRICS for _, tags in pictures
    ):
        raise ImageError(Status.UNSUPPORTED_FORMAT, RAW)
    file.seek(0)
    if not pictures:
        return file
    offset, _ = max(pictures, key=lambda picture: _value(picture[1], WIDTH) * _value(picture[1], HEIGHT))
    if offset == directories[0][0]:
        return file
    data = file.read()
    start, pointer = (8, "Q") if data[2:4] in BIG else (4, "I")
    pointer = order + pointer
    return BytesIO(data[:start] + struct.pack(pointer, offset) + data[start + struct.calcsize(pointer) :])


def describe_samples(file: BinaryIO) -> str:
    """Return what the samples of the first picture are, such as ``3 samples of 32 bits, floating point``."""
    file.seek(0)
    tags = next((tags for _, tags in _read(file)[1] if not _is_secondary(tags)), {})
    bits, kind = tags.get(BITS, (1,)), {2: "signed", 3: "floating point"}.get(_value(tags, SAMPLE_FORMAT), "unsigned")
    return f"{len(bits)} samples of {' '.join(map(str, dict.fromkeys(bits)))} bits, {kind}"


def _read(file: BinaryIO) -> tuple[str, list[tuple[int, Directory]]]:
    """Return the byte order, and offset and tags of each directory, chained ones before those within each."""
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in BIG
    by_offset: dict[int, Directory] = {}
    try:
        pending = list(struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4))
        while pending and len(by_offset) < MAX_DIRECTORIES:
            offset = pending.pop(0)
            if offset and offset not in by_offset:
                by_offset[offset], following = _directory(file, offset, order, big)
                pending += [*following, *by_offset[offset].get(SUB_IFDS, ())]
    except (struct.error, OSError, OverflowError):  # Pillow says what is wrong with a directory that it opens
        pass
    return order, list(by_offset.items())


def _directory(file: BinaryIO, offset: int, order: str, big: bool) -> tuple[Directory, tuple[int, ...]]:
    """Return the tags of the directory at ``offset``, and the offset of the next one."""
    count, entry, word = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    file.seek(offset)
    (num,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    num, room = min(num, MAX_ENTRIES), struct.calcsize(order + word)
    size = struct.calcsize(order + entry) + room
    body = file.read(num * size + room)
    tags = dict(_values(file, body[: num * size], order, entry, size, room))
    return tags, struct.unpack_from(order + word, body, num * size)


def _values(
    file: BinaryIO, body: bytes, order: str, entry: str, size: int, room: int
) -> Iterator[tuple[int, tuple[int, ...]]]:
    for start in range(0, len(body) - size + 1, size):
        tag, kind, num = struct.unpack_from(order + entry, body, start)
        if tag not in TAGS or kind not in TYPES or num > MAX_VALUES:
            continue
        form = f"{order}{num}{TYPES[kind]}"
        data = body[start + size - room : start + size]
        if struct.calcsize(form) > room:
            file.seek(int.from_bytes(data, "little" if order == "<" else "big"))
            data = file.read(struct.calcsize(form))
        yield tag, struct.unpack_from(form, data)


def _value(tags: Directory, tag: int) -> int:
    return (tags.get(tag) or (0,))[0]


def _is_secondary(tags: Directory) -> bool:
    """Return whether a directory holds a reduced picture or a mask."""
    return bool(_value(tags, NEW_SUBFILE_TYPE) & 5) or _value(tags, SUBFILE_TYPE) == 2
