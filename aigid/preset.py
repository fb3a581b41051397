"""Presets: whole params.yaml files by name, in ``aigid/presets/``."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from aigid.base import params
from aigid.base.errors import InputError
from aigid.base.files import dataset_root, write_text
from aigid.data.index import LAYOUTS
from aigid.data.sources import SOURCES


def names() -> list[str]:
    """The known presets."""
    return sorted(file.name.removesuffix(".yaml") for file in files("aigid").joinpath("presets").iterdir())


def write(name: str, path: Path) -> list[str]:
    """Write a preset to ``path``; returns what changed, a line for each key."""
    if name not in names():
        raise InputError(f"unknown preset {name!r}; known: {', '.join(names())}")
    text = files("aigid").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    before = _flat(params.read(path)) if path.is_file() else {}
    after = _flat(yaml.safe_load(text))
    write_text(path, text)
    changes = [
        f"{key}: {before.get(key, '(none)')} -> {after.get(key, '(none)')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    return [f"{path}: preset {name}", *(changes or ["nothing changed"]), *_missing(yaml.safe_load(text)["index"])]


def _missing(index: dict[str, dict[str, Any]]) -> list[str]:
    """What is expected of each dataset that is not there, and where it is published."""
    lines = []
    for dataset, settings in index.items():
        try:
            dataset_root(dataset)
        except InputError as error:
            lines += [f"{error}; there belongs {LAYOUTS[settings['layout']].tree}", f"  {SOURCES[dataset]}"]
    return lines


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat = {}
    for name, part in value.items():
        flat |= _flat(part, f"{prefix}.{name}" if prefix else str(name))
    return flat
