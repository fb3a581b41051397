"""The only reader of params.yaml: one section, checked against its model, or one clear line."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from aigid.base.errors import InputError

T = TypeVar("T")


class Settings(BaseModel):
    """A section of params.yaml: unknown keys are refused, values are coerced, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load(section: str, model: type[T], path: Path | str = "params.yaml") -> T:
    """The section at a dotted name (``"probe"``, ``"backbones.tiny_clip"``), as an instance of ``model``.

    ``model`` is a ``Settings`` class or any type that pydantic understands, such as ``int`` or ``list[str]``.
    Raises InputError naming the file, the key and the value.
    """
    value = _read(Path(path))
    for depth, key in enumerate(section.split("."), start=1):
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{path}: no section {'.'.join(section.split('.')[:depth])!r}")
        value = value[key]
    return check(value, model, f"{path}: {section}")


def check(value: object, model: type[T], name: str) -> T:
    """``value`` as an instance of ``model``, or InputError ``<name>.<key>: <reason>, got <value>``."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise InputError(f"{key}: {first['msg']}{got}") from None


def _read(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `aigid preset demo` writes one") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
