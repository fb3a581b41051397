"""Where the members of a tar lie: of one of plain files by its headers alone, at a fifth of what ``tarfile`` takes."""

import os
import tarfile
from typing import IO
from zlib import adler32

NO_SIZE = -1  # of a member that holds no bytes
BLOCK = tarfile.BLOCKSIZE
FILE, OLD_FILE, FOLDER = b"0", b"\0", b"5"  # kinds of members
ADLER = 65521  # by which zlib counts a sum of bytes
Spans = dict[str, tuple[int, int]]  # offset and size, by name


def spans(file: IO[bytes]) -> Spans:
    """Return where each member lies; tarfile's errors, ValueError or EOFError where it is none, or has no end."""
    members = _of_plain(file)
    file.seek(0)
    return _of_any(file) if members is None else members


def _of_plain(file: IO[bytes]) -> Spans | None:
    """Return the members of a tar that holds files and folders of short names; None of any other, or a broken one."""
    members: Spans = {}
    at = 0
    while len(header := file.read(BLOCK)) == BLOCK:
        if at and not any(header):
            return members
        kind, name, prefix = header[156:157], _text(header[:100]), _text(header[345:500])
        try:
            size, total = (int(_text(field).strip() or b"0", 8) for field in (header[124:136], header[148:156]))
        except ValueError:
            return None
        is_sound = adler32(header) % 2**16 == (1 + total - 8 * ord(" ") + sum(header[148:156])) % ADLER
        if kind not in (FILE, OLD_FILE, FOLDER) or size < 0 or not is_sound:
            return None
        at += BLOCK
        if kind == FILE or (kind == OLD_FILE and not name.endswith(b"/")):
            path = (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")
            members[path] = (at, size)
            at += -(-size // BLOCK) * BLOCK
            file.seek(at)
    return None


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _of_any(file: IO[bytes]) -> Spans:
    members: Spans = {}
    last = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined] # a kilobyte each
            last = member.offset_data + -(-member.size // BLOCK) * BLOCK
            if member.issparse():
                raise ValueError(f"{member.name} is a sparse file")
            if member.isfile():
                members[member.name] = (member.offset_data, member.size)
            elif not member.isdir():  # a hard link leads to a file before it
                members[member.name] = members.get(member.linkname if member.islnk() else "", (0, NO_SIZE))
    if file.seek(0, os.SEEK_END) < last + BLOCK:
        raise EOFError("cut short: it has no end")
    file.seek(archive.offset)
    if any(file.read(BLOCK)):  # where tarfile stops without a word
        raise ValueError(f"the header at byte {archive.offset} is broken")
    return members
