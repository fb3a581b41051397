"""The one thing that an audit asks of an EXIF block: which software wrote it."""

import struct

SOFTWARE = 0x0131


def software(tiff: bytes) -> str:
    """The Software tag of the first directory of an EXIF block (EXIF 2.32, 4.6.2); "" where absent or broken."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        start = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, start)[0]):
            tag, _, count, place = struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * entry)
            if tag == SOFTWARE:  # at most four characters stand in the entry itself
                place = place if count > 4 else start + 10 + 12 * entry
                return printable(tiff[place : place + count])
    except (KeyError, struct.error):
        pass
    return ""


def printable(text: bytes) -> str:
    """At most 64 printable characters, up to the first NUL."""
    return "".join(filter(str.isprintable, text.partition(b"\0")[0].decode("latin-1")))[:64].strip()
