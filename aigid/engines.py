"""Where images are worked on: here, or on the machines of a cluster. What comes of it is the same."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from aigid.base.errors import InputError


def find(name: str, known: Mapping[str, str]) -> Callable[..., Any]:
    """The function of the engine of that name, known as ``module:function``; InputError where there is none.

    An engine is named like the package that it needs, and the extra that brings it.
    """
    if name not in known:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(known)}")
    module, function = known[name].split(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"engine {name!r}: not installed; pip install 'aigid[{name}]'") from None
