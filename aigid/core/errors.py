"""Errors that mean: the user's input is wrong."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class InputError(ValueError):
    """A user's mistake, in one line that names the thing and the value; commands exit with 2."""


def reason(error: BaseException, max_chars: int = 300, named: bool = False) -> str:
    """Return what an error says on one line, or else its kind; ``named`` with its kind before it."""
    return " ".join(f"{type(error).__name__ if named else ''} {error}".split())[:max_chars] or type(error).__name__


def parse_json(text: str | bytes) -> Any:
    """Return what JSON from elsewhere says; ValueError where it is none, or nests too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nests too deeply") from None


@contextmanager
def os_errors(name: object, hint: str = "") -> Iterator[None]:
    """Turn an OSError, of HDF5 too, into an InputError ``<name>: <reason>``, with what to do if it is known."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise InputError(f"{name}: {why}{hint or remedy(error)}") from None


def remedy(error: OSError) -> str:
    """Return what to do about an error, to be appended to it."""
    return "; free some space there" if error.errno in FULL_DISK else ""


@contextmanager
def full_disk_errors(folder: object) -> Iterator[None]:
    """Let what is raised when the disk is full, or a file as large as it may be, be an OSError that names the folder.

    Python's names no file, torch and safetensors raise errors of their own.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error if isinstance(error, OSError) else error.__context__
        number = cause.errno if isinstance(cause, OSError) else None
        if number in (*FULL_DISK, errno.EFBIG) or os.strerror(errno.ENOSPC) in str(error):
            number = number or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(folder)) from None
        raise
