"""References of the command line, file formats, datasets and Python API, made from the code wherever it lies."""

import ast
import importlib
import inspect
import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pandas as pd
from reference_params import markdown_table, module_name

ROOT = Path(__file__).resolve().parents[1]


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
    """Return mkdocstrings' directives for the package and for the classes that its functions give and return."""
    wanted = ("Bundle", "LoadedBundle", "Prediction", "EvaluationResult", "Audit", "DetectorClassifier")
    modules: dict[str, str] = {}
    for path in sorted((ROOT / "aigid").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name in wanted:
                modules.setdefault(node.name, f"{module_name(path)}.{node.name}")
    switches = ("show_root_heading", "show_root_full_path", "show_if_no_docstring")
    options = "    options:\n      heading_level: 2\n" + "".join(f"      {name}: true\n" for name in switches)
    return "\n\n".join(f"::: {name}\n{options}" for name in ["aigid", *modules.values()])
