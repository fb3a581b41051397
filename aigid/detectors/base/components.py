"""What a detector needs besides its samples, as the command line names it."""

from collections.abc import Iterable
from pathlib import Path

from aigid.base.errors import InputError


def named(arguments: Iterable[str]) -> dict[str, Path]:
    """Return paths by name from ``NAME=PATH``; a plain path has the name ``""``. InputError where two share a name."""
    result = {}
    for argument in arguments:
        name, _, path = argument.rpartition("=")
        if name in result:
            raise InputError(f"{argument}: {'two without a name' if not name else f'{name!r} is named twice'}")
        result[name] = Path(path)
    return result
