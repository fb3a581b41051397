"""Where an extraction's missing rows are computed: here, or on the machines of a cluster. The rows are the same."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from aigid.errors import InputError

# Each is a function that does what `aigid.features.engine.run` does.
ENGINES = {"local": "aigid.features.engine:run", "ray": "aigid.features.on_ray:run"}


def find(name: str) -> Callable[..., Any]:
    """The engine of that name; InputError for an unknown one, or one that is not installed."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    module, function = ENGINES[name].split(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"engine {name!r}: not installed; pip install 'aigid[{name}]'") from None
