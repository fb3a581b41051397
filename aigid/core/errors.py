"""Errors that mean: the user's input is wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A user's mistake, in one line that names the thing and the value; commands exit with 2."""


@contextmanager
def os_errors(name: object, hint: str = "") -> Iterator[None]:
    """Turn an OSError, of HDF5 too, into an InputError ``<name>: <reason>``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{name}: {os.strerror(error.errno) if error.errno else error}{hint}") from None
