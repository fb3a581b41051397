"""The reference of params.yaml, made from the settings classes; nothing here names a module of aigid."""

import ast
import functools
import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]


def parameters() -> str:
    """Return the reference of params.yaml: each section's comment, and a table of its keys."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    blocks, shown = [], set()
    for section, value in yaml.safe_load(text).items():
        blocks.append(f"## `{section}`\n\n{section_comment(text, section)}")
        kind = declared_types().get(section) or best_match(section, value)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested = not set(value or {}) <= set(kind.model_fields)
            blocks.append(settings_table(kind, f"{section}.<name>" if nested or not value else section, shown))
        else:
            blocks.append(f"Type `{type_name(kind)}`; in `params.yaml`: `{json.dumps(value)}`.")
    others = [kind for kind in settings_classes() if kind not in shown]
    blocks.append("## Settings that belong to no section\n\nThese are options of commands, or parts of a preset.")
    blocks += [f"### `{kind.__name__}`\n\n{settings_table(kind, '', shown)}" for kind in others if kind not in shown]
    return "\n\n".join(blocks)


def section_comment(text: str, section: str) -> str:
    """Return the comment above a section of params.yaml."""
    match = re.search(rf"((?:^#.*\n)+)^{re.escape(section)}:", text, re.M)
    return escaped(" ".join(line.lstrip("# ") for line in match[1].splitlines())) if match else ""


def settings_table(kind: type[BaseModel], prefix: str, shown: set) -> str:
    """Return the docstring and the fields of a settings class, nested ones with dotted names."""
    docstring = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    rows = [
        {"key": f"`{key}`", "type": f"`{kind}`", "default": f"`{default}`" if default else "", "meaning": note}
        for key, kind, default, note in fields(kind, f"{prefix}." if prefix else "", shown)
    ]
    table = markdown_table(pd.DataFrame(rows, columns=["key", "type", "default", "meaning"]))
    return f"{escaped(docstring.replace('``', '`'))}\n\n{table}"


def escaped(text: str) -> str:
    """Return prose in which ``<name>`` is no HTML tag."""
    return text.replace("<", "&lt;")


def fields(kind: type[BaseModel], prefix: str, shown: set) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and comment of each field."""
    shown.add(kind)
    for name, field in kind.model_fields.items():
        inner = [part for part in parts_of(field.annotation) if inspect.isclass(part) and issubclass(part, BaseModel)]
        default = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
        plain = isinstance(default, BaseModel) or default is PydanticUndefined
        yield (
            f"{prefix}{name}",
            type_name(field.annotation),
            "" if plain else json.dumps(default, default=str),
            (field.description or comment_of(kind, f"{prefix}{name}")),
        )
        for part in inner:
            if part is not kind:
                many = typing.get_origin(field.annotation) in (dict, list, tuple)
                yield from fields(part, f"{prefix}{name}.{'<name>.' if many else ''}", shown)


def comment_of(kind: type[BaseModel], key: str) -> str:
    """Return the comment behind a field in its class or a parent's, or behind the key in params.yaml."""
    field = rf"^\s+{key.split('.')[-1]}: .*?# (.*)$"
    parents = [parent for parent in kind.__mro__ if issubclass(parent, BaseModel) and parent is not BaseModel]
    for parent in parents:
        if match := re.search(field, inspect.getsource(parent), re.M):
            return match[1]
    pattern = re.escape(key).replace("<name>", r"[^.]+")
    return next((note for name, note in yaml_comments().items() if re.fullmatch(pattern, name)), "")


@functools.cache
def yaml_comments() -> dict[str, str]:
    """Return the comment behind each key of params.yaml, by its dotted name."""
    comments, path = {}, []
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"( *)([\w-]+):(?:.*? # (.*))?", line):
            path = [*path[: len(match[1]) // 2], match[2]]
            if match[3]:
                comments[".".join(path)] = match[3]
    return comments


def parts_of(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and the types that it is made of."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from parts_of(part)


def type_name(annotation: Any) -> str:
    """Return an annotation as one writes it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_name, arguments))
    if origin:
        return f"{origin.__name__}[{', '.join('...' if part is ... else type_name(part) for part in arguments)}]"
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


@functools.cache
def settings_classes() -> list[type[BaseModel]]:
    """Return every settings class of the package."""
    classes = []
    for path in sorted((ROOT / "aigid").rglob("*.py")):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Settings") for base in node.bases)
        ]
        module = importlib.import_module(module_name(path)) if names else None
        classes += [getattr(module, name) for name in names]
    return [kind for kind in classes if issubclass(kind, BaseModel)]


def module_name(path: Path) -> str:
    """Return a file's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def declared_types() -> dict[str, Any]:
    """Return the type of each section as code names it: ``load("section", Type)``, or ``("section", Type)``."""
    declared: dict[str, Any] = {}
    for folder in ("stages", "aigid"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                pair = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
                if len(pair) == 2 and (section := leading_text(pair[0])) and "." not in section.rstrip("."):
                    kind = resolved(tree, pair[1])
                    if kind is not None and kind is not dict:
                        declared.setdefault(section.rstrip("."), kind)
    return declared


def leading_text(node: ast.expr) -> str:
    """Return a string, or the part of an f-string before its first value."""
    node = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def resolved(tree: ast.Module, node: ast.expr) -> Any:
    """Return the type that an expression names: a builtin one, or a class that the file imports."""
    text = ast.unparse(node)
    if text in ("int", "str", "float", "bool", "list[str]"):
        return eval(text, {})
    if not re.fullmatch(r"\w+Settings", text):
        return None
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and text in [alias.name for alias in part.names]:
            return getattr(importlib.import_module(part.module), text)
    return None


def best_match(section: str, value: Any) -> Any:
    """Return the settings class that accepts a section's value; of several, the one that is named like it."""

    def accepts(kind: type[BaseModel]) -> bool:
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError:
            return False
        return True

    def likeness(kind: type[BaseModel]) -> tuple[bool, int]:
        name = f"{kind.__module__}.{kind.__name__}".lower()
        return section.rstrip("s") not in name, len(kind.model_fields)

    classes = settings_classes()
    named = [kind for kind in classes if kind.__name__.lower() == f"{section.rstrip('s')}settings"]
    return min([kind for kind in classes if value and accepts(kind)] or named or [type(value)], key=(
        lambda kind: likeness(kind) if hasattr(kind, "model_fields") else (True, 0)
    ))  # fmt: skip


def markdown_table(table: pd.DataFrame) -> str:
    """Return a Markdown table; decimals of more than three places are rounded to three."""

    def cell(value: object) -> str:
        text = str(value).replace("|", "\\|").replace("\n", " ")
        return f"{float(text):.3f}" if re.fullmatch(r"-?\d+\.\d{4,}", text) else text

    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in rows)
