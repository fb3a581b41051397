"""Presets: whole params.yaml files by name. In ``aigid/presets/`` lies one whole file, and what differs from it.

A file that starts with ``preset`` is an overlay: it names its ``base`` and gives the other values alone, by dotted
names. ``dataset`` and ``backbone`` go into every section that has one; the names in ``remove`` are left out.
"""

import re
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from aigid.core import params
from aigid.core.errors import InputError
from aigid.core.files import dataset_root, write_text
from aigid.data.layouts.registry import LAYOUTS
from aigid.data.licences import DATASET_LICENCES

INCOMPLETE = {"real"}  # a base alone: its datasets and backbones are the overlays'
ENTRY = re.compile(r"((?:^#.*\n)*)^([\w.]+)(:.*\n(?: +.*\n)*)", re.M)  # the comment before a key, the key, its value


def preset_names() -> list[str]:
    """Return the known presets."""
    names = {file.name.removesuffix(".yaml") for file in files("aigid").joinpath("presets").iterdir()}
    return sorted(names - INCOMPLETE)


def text(name: str) -> str:
    """Return the whole params.yaml of a preset, with comments; InputError that lists the known ones."""
    if name not in preset_names():
        raise InputError(f"unknown preset {name!r}; known: {', '.join(preset_names())}")
    return _merged(name)


def _merged(name: str) -> str:
    """Return the text of a whole file, or of an overlay laid over its base, which may itself be one."""
    (comment, first, value), *changes = ENTRY.findall(_file(name))
    if first != "preset":
        return _file(name)
    overlay = _load(first + value)[first]
    comments = {"seed": comment} | {key.split(".")[0]: note for note, key, _ in changes if note}
    base, sections = ENTRY.findall(_merged(overlay["base"])), []
    if unknown := {key.split(".")[0] for _, key, _ in changes} - {section for _, section, _ in base}:
        raise InputError(f"preset {name}: {', '.join(sorted(unknown))} is no section of {overlay['base']}")
    for note, section, body in base:
        values = [_load(key + value) for _, key, value in changes if key.split(".")[0] == section]
        sections.append(comments.get(section, note) + _overlaid(section + body, overlay, values))
    return "\n".join(sections)


def write(name: str, path: Path) -> list[str]:
    """Write a preset to ``path`` and return what changed, a line for each key."""
    new = text(name)
    document = yaml.safe_load(new)
    before = _flatten(params.read_any_version(path)) if path.is_file() else {}
    after = _flatten(document)
    write_text(path, new)
    changes = [
        f"{key}: {before.get(key, '(none)')} -> {after.get(key, '(none)')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    return [
        f"{path}: preset {name}",
        *(changes or ["nothing changed"]),
        *_missing_datasets(document["index"]),
    ]


def _file(name: str) -> str:
    return files("aigid").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")


def _load(body: str) -> CommentedMap:
    document: CommentedMap = YAML().load(body)
    return document


def _overlaid(body: str, overlay: dict[str, Any], values: list[CommentedMap]) -> str:
    """Return the text of a section of the base with an overlay's values; as it is where none differs."""
    section = _load(body)
    name, settings = next(iter(section.items()))
    for key in ("dataset", "backbone"):
        if isinstance(settings, dict) and key in settings and key in overlay:
            settings[key] = overlay[key]
    for key in overlay.get("remove", ()):
        if key == name:
            section[name] = CommentedMap()
        elif key.startswith(f"{name}."):
            del settings[key.removeprefix(f"{name}.")]
    for entry in values:
        _set(section, entry)
    if section == yaml.safe_load(body):
        return body
    writer, out = YAML(), StringIO()
    writer.width = 4096
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.dump(_block_style(section), out)
    return re.sub(r"(?<=\S) {2,}#", " #", out.getvalue())


def _set(section: CommentedMap, entry: CommentedMap) -> None:
    """Set the value at a dotted name, with its comment; a list or a mapping is replaced whole."""
    (name, value), parent = next(iter(entry.items())), section
    *above, last = name.split(".")
    for key in above:
        parent = parent.setdefault(key, CommentedMap())
    parent[last] = value
    if name in entry.ca.items:
        parent.ca.items[last] = entry.ca.items[name]


def _block_style(node: Any) -> Any:
    """Return a document all of whose lists and mappings are written a line for each item."""
    if isinstance(node, CommentedMap | CommentedSeq):
        node.fa.set_block_style()
        for part in node.values() if isinstance(node, CommentedMap) else node:
            _block_style(part)
    return node


def _missing_datasets(index: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is expected of each missing dataset, and where it is published."""
    lines = []
    for dataset, settings in index.items():
        try:
            dataset_root(dataset)
        except InputError as error:
            lines += [f"{error}; there belongs {LAYOUTS[settings['layout']].pattern}", f"  {DATASET_LICENCES[dataset]}"]
    return lines


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, part in value.items():
        flat |= _flatten(part, f"{prefix}.{name}" if prefix else str(name))
    return flat
