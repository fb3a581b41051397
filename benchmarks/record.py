"""Write measured tables to results/benchmarks/<name>.csv, with the machine, versions and commit that measured them."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.console import Console
from rich.table import Table

FOLDER = Path("results/benchmarks")
PROVENANCE = ("machine", "python", "torch", "commit", "date")

out_option = click.option(
    "--out", type=Path, default=FOLDER, show_default=True, help="Folder that gets the CSV of each table."
)


def environment() -> dict[str, str]:
    """Return the columns that say where, with what and when a table was measured."""
    return {
        "machine": machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def machine() -> str:
    """Return the number of cores, the architecture and, with CUDA, the name of the GPU."""
    import torch  # here, so that benchmarks of start-up and memory do not pay for it

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()}-core {platform.machine()}{gpu}"


def commit() -> str:
    """Return the short hash of HEAD, with ``-dirty`` if tracked files differ; ``unknown`` outside a clone."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write_table(name: str, rows: Iterable[Mapping[str, Any]], out: Path = FOLDER) -> Path:
    """Write ``rows`` and the provenance columns to ``out/<name>.csv``, and return its path."""
    table = pd.DataFrame(list(rows)).assign(**environment())
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.csv"
    table.to_csv(path, index=False, lineterminator="\n")
    return path


def publish(table: Table, name: str, out: Path = FOLDER, width: int | None = None) -> Path:
    """Print a rich table and write its cells as a CSV by ``write_table``."""
    Console(width=width).print(table)
    headers = unique(str(column.header) for column in table.columns)
    cells = zip(*(column.cells for column in table.columns), strict=True)
    settings = {"settings": str(table.title)} if table.title else {}
    return write_table(name, [dict(zip(headers, row, strict=True)) | settings for row in cells], out)


def unique(headers: Iterable[str]) -> list[str]:
    """Return the headers with a number behind those that stood before."""
    names: list[str] = []
    for header in headers:
        repeats = sum(name == header or name.startswith(f"{header} (") for name in names)
        names.append(f"{header} ({repeats + 1})" if repeats else header)
    return names


def experiment_key(**inputs: Any) -> str:
    """Return a hash of everything that the cells of an ablation depend on: settings, rows, limit."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Runs:
    """The runs of an ablation, one row a cell and seed, which a killed call can continue from a CSV at ``path``.

    Every row carries ``key``, the hash of the settings, rows and limit it was made with. A file that holds another key
    is refused by BadParameter (exit status 2), so that a table never mixes two experiments.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.path, self.key = path, key
        self.rows = pd.read_csv(path).to_dict("records") if path and path.exists() else []
        for row in self.rows:
            if row.get("key") != key:
                raise click.BadParameter(
                    f"{path}: cell {row.get('cell')!r}, seed {row.get('seed')} was run with other settings, rows or "
                    f"limit (key {row.get('key')}, now {key}); name another file"
                )

    def has(self, cell: str, seed: int) -> bool:
        """Return whether this cell is done."""
        return any((row["cell"], row["seed"]) == (cell, seed) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, and write it to the file at once."""
        self.rows.append(dict(row) | {"key": self.key})
        if self.path:
            pd.DataFrame(self.rows[-1:]).to_csv(self.path, mode="a", header=not self.path.exists(), index=False)

    def table(self) -> pd.DataFrame:
        """Return all runs."""
        return pd.DataFrame(self.rows)
