"""MkDocs hook: tables of results, references made from the code, and links to files outside docs/.

A page asks for generated text by a line of its own:

- ``[table](../../results/benchmarks/NAME.csv)`` becomes the table, with what measured it;
- ``<!-- generate: params | cli | manifest | scores | metrics | datasets | api -->`` becomes that reference;
- ``<!-- include: FILE -->`` becomes the text of a file at the root of the repository.

Nothing here names a module of aigid: everything is looked up, so that moves and renames need no edit.
"""

import ast
import functools
import importlib
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click
import pandas as pd
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
PROVENANCE = ("settings", "machine", "python", "torch", "commit", "date", "key")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


# MkDocs' events


def on_files(files: "Files", config: Any) -> "Files":
    """Add the files outside docs/ that pages link to, so that the site holds them."""
    from mkdocs.structure.files import File  # here, so that tests of the references need no MkDocs

    pages = list(files.documentation_pages())
    for page in pages:  # grows: a report that a page links to has figures of its own
        for target in outside(Path(page.abs_src_path)):
            uri = f"repository/{target.as_posix()}"
            if (ROOT / target).is_file() and uri not in files.src_uris:
                file = File.generated(config, uri, abs_src_path=str(ROOT / target))
                files.append(file)
                pages += [file] if uri.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with tables, references and links filled in."""
    source = Path(page.file.abs_src_path)
    markdown = with_includes(markdown)
    markdown = re.sub(r"^\[table\]\((\S+)\)$", lambda match: table_of(source, match[1]), markdown, flags=re.M)
    markdown = re.sub(r"^<!-- generate: (\w+) -->$", lambda match: REFERENCES[match[1]](), markdown, flags=re.M)
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    return LINK.sub(lambda match: relinked(match, source, depth), markdown)


# Links


def outside(page: Path) -> Iterator[PurePosixPath]:
    """Yield the paths, relative to the repository, of linked files outside docs/."""
    for match in LINK.finditer(with_includes(page.read_text(encoding="utf-8"))):
        if (target := in_repository(page, match[3])) and target.parts[0] != "docs":
            yield target


def in_repository(page: Path, target: str) -> PurePosixPath | None:
    """Return a relative link's target from the root of the repository; None for an address of the web."""
    if ":" in target or target.startswith("/"):
        return None
    resolved = Path(os.path.normpath(page.parent / target))
    return PurePosixPath(resolved.relative_to(ROOT).as_posix()) if resolved.is_relative_to(ROOT) else None


def relinked(match: re.Match, page: Path, depth: int) -> str:
    """Return a link to a file outside docs/ as one to the site's copy; as plain text where the file is not there."""
    target = in_repository(page, match[3])
    if target is None or target.parts[0] == "docs":
        return match[0]
    if (ROOT / target).is_file():
        return f"{match[1]}[{match[2]}]({'../' * depth}repository/{target}{match[4] or ''})"
    if (ROOT / target).is_dir():
        return f"`{target}/`"
    return f"*{match[2]}: `{target}`, which `make repro` writes*"


def with_includes(markdown: str) -> str:
    """Return a page of docs/ in which included files at the root are filled in, their links relative to docs/."""
    pages = {path.name.upper(): path.name for path in (ROOT / "docs").glob("*.md")}

    def moved(link: re.Match) -> str:
        target = pages.get(link[3].upper()) or (link[3] if ":" in link[3] else os.path.relpath(link[3], "docs"))
        return f"{link[1]}[{link[2]}]({target}{link[4] or ''})"

    def included(match: re.Match) -> str:
        return LINK.sub(moved, (ROOT / match[1]).read_text(encoding="utf-8"))

    return re.sub(r"^<!-- include: (\S+) -->$", included, markdown, flags=re.M)


# Tables of results


def table_of(page: Path, link: str) -> str:
    """Return the Markdown table of a CSV and, where it says so, what measured it."""
    path = ROOT / (in_repository(page, link) or link)
    if not path.is_file():
        return f"*`{path.relative_to(ROOT)}` is written by `make repro`.*"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    provenance = {name: ", ".join(dict.fromkeys(table[name])) for name in PROVENANCE if name in table}
    table = table.drop(columns=list(provenance))
    if {"cell", "seed"} <= set(table):
        table = over_seeds(table)
    provenance.pop("key", None)
    settings, machine = (provenance.pop(name, "") for name in ("settings", "machine"))
    measured = ", ".join([machine, *(f"{name} {text}".replace("date ", "") for name, text in provenance.items())])
    caption = " ".join(f"{line[:1].upper()}{line[1:]}." for line in (settings, measured) if line)
    return markdown_table(table) + (f"\n\n*{caption}*" if caption else "")


def over_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds of each cell."""
    rows = []
    for cell, part in runs.groupby("cell", sort=False):
        values = part.drop(columns=["cell", "seed"]).astype(float)
        spread = values.std(ddof=0)
        cells = {
            name: f"{mean:.3f}" + (f" ± {spread[name]:.3f}" if len(part) > 1 else "")
            for name, mean in values.mean().items()
            if name != "seconds"
        }
        rows.append({"cell": cell, "seeds": str(len(part)), **cells})
    return pd.DataFrame(rows)


def markdown_table(table: pd.DataFrame) -> str:
    """Return a Markdown table; decimals of more than three places are rounded to three."""

    def cell(value: object) -> str:
        text = str(value).replace("|", "\\|").replace("\n", " ")
        return f"{float(text):.3f}" if re.fullmatch(r"-?\d+\.\d{4,}", text) else text

    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in rows)


# Parameters


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


# The command line


def command_line() -> str:
    """Return the reference of the `aigid` command and of each of its commands."""
    return "\n\n".join(command_block(name, command, depth) for name, command, depth in commands())


def commands() -> Iterator[tuple[str, click.Command, int]]:
    """Yield name, command and depth of the console script and of all below it."""
    (script,) = entry_points(group="console_scripts", name="aigid")

    def walk(name: str, command: click.Command, depth: int) -> Iterator[tuple[str, click.Command, int]]:
        yield name, command, depth
        for child in sorted(getattr(command, "commands", {})):
            yield from walk(f"{name} {child}", command.commands[child], depth + 1)

    return walk("aigid", script.load(), 0)


def command_block(name: str, command: click.Command, depth: int) -> str:
    """Return heading, usage, help and options of one command."""
    context = click.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            flags, note = option.get_help_record(context) or ("", "")
            rows.append({"option": f"`{flags}`", "meaning": note})
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("<", "&lt;")
    options = markdown_table(pd.DataFrame(rows)) if rows else ""
    return f"##{'#' * depth} `{name}`\n\n```text\n{usage}\n```\n\n{text}\n\n{options}"


# File formats and the public API


def columns_of(kind: str) -> str:
    """Return the required and optional columns of a manifest or scores file, from its module's constants."""
    for path in sorted((ROOT / "aigid").rglob(f"{kind}.py")):
        module = importlib.import_module(module_name(path))
        if required := getattr(module, "REQUIRED", None):
            optional = getattr(module, "OPTIONAL", ())
            line = f"Required columns: {', '.join(f'`{name}`' for name in required)}."
            return line + (f" Optional: {', '.join(f'`{name}`' for name in optional)}." if optional else "")
    raise LookupError(f"no module {kind} with REQUIRED columns under aigid/")


def dataset_licences() -> str:
    """Return where each dataset is published, from the table of licences in the package."""
    for path in sorted((ROOT / "aigid/data").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [ast.unparse(target) for target in getattr(node, "targets", [])]
            if {"SOURCES", "DATASET_LICENCES"} & set(names):
                licences = ast.literal_eval(node.value)
                return markdown_table(pd.DataFrame(licences.items(), columns=["dataset", "size, place, licence"]))
    raise LookupError("no DATASET_LICENCES under aigid/data/")


def metric_keys() -> str:
    """Return the keys that metrics files of this clone hold."""
    files = sorted((ROOT / "results/metrics").rglob("*.json"))
    keys = dict.fromkeys(key for path in files for key in json.loads(path.read_text(encoding="utf-8")))
    return ", ".join(f"`{key}`" for key in sorted(keys)) or "*`make repro` writes the first metrics files.*"


def public_api() -> str:
    """Return mkdocstrings' directives for the package and for the classes that its `load` gives and returns."""
    wanted, modules = ("Bundle", "LoadedBundle", "Prediction"), {}
    for path in sorted((ROOT / "aigid").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in wanted:
                modules.setdefault(node.name, f"{module_name(path)}.{node.name}")
    switches = ("show_root_heading", "show_root_full_path", "show_if_no_docstring")
    options = "    options:\n      heading_level: 2\n" + "".join(f"      {name}: true\n" for name in switches)
    return "\n\n".join(f"::: {name}\n{options}" for name in ["aigid", *modules.values()])


REFERENCES: dict[str, Callable[[], str]] = {
    "params": parameters,
    "cli": command_line,
    "manifest": lambda: columns_of("manifest"),
    "scores": lambda: columns_of("scores"),
    "metrics": metric_keys,
    "datasets": dataset_licences,
    "api": public_api,
}
