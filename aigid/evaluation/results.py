"""Results on disk: flat metrics in one folder, tables and curves in two others, and the sections of a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.files import atomic_write, write_json
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics import decisions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = ("roc", "pr", "reliability", "calibrated")
NOTE_KEYS = {"view": "view", "warnings": "warnings", "missing_metrics": "omitted", "run_info": "facts"}  # field to key
Cell = tuple[str, str]  # detector, dataset


@dataclass(frozen=True)
class Section:
    """A part of a report beyond its datasets, such as an audit: an intro, tables by title, figures by caption."""

    intro: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


def write(result: EvaluationResult, root: Path | str, detector: str, dataset: str) -> None:
    """Write ``metrics/<detector>/<dataset>.json``, ``details/<detector>/<dataset>.{csv,json}`` and the curves.

    The curves are ``plots/<detector>/<dataset>.<roc|pr|reliability|calibrated>.csv``, with a header alone where there
    is none. With validation images, ``calibration/<detector>/<dataset>.json`` is the decision rule fitted on them.
    """
    paths = _result_paths(Path(root), detector, dataset)
    write_json(paths["metrics"], result.metrics)
    if result.deployment:
        decisions.save(result.deployment, paths["deployment"])
    else:
        paths["deployment"].unlink(missing_ok=True)
    notes = {key: getattr(result, name) for name, key in NOTE_KEYS.items()}
    write_json(paths["notes"], notes | {"hardest": result.worst_errors.to_dict("records")})
    for name, table in {"details": result.details, **result.curves}.items():
        write_csv(table, paths[name])


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table atomically."""
    with atomic_write(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def read(root: Path | str, cells: Iterable[Cell] | None = None) -> dict[Cell, EvaluationResult]:
    """Return the results below ``root`` by detector and dataset; InputError if none or not all ``cells`` are there."""
    root = Path(root)
    available = sorted((file.parent.name, file.stem) for file in root.glob("metrics/*/*.json"))
    if missing := sorted(set(cells or ()) - set(available)):
        raise InputError(f"{root}: no metrics of {', '.join('/'.join(cell) for cell in missing)}")
    if not available:
        raise InputError(f"{root}: no metrics/<detector>/<dataset>.json to report on")
    return {cell: _read(_result_paths(root, *cell)) for cell in available}


def write_curves(results: Mapping[Cell, EvaluationResult], folder: Path) -> None:
    """Write ``<dataset>.<roc|pr>.csv`` below ``folder``: the curves of all detectors, by the column ``detector``."""
    for dataset, name in product(dict.fromkeys(dataset for _, dataset in results), ("roc", "pr")):
        curves = [
            result.curves[name].assign(detector=detector)
            for (detector, other), result in results.items()
            if other == dataset
        ]
        table = pd.concat([curve for curve in curves if len(curve)] or curves[:1])
        table.insert(0, "detector", table.pop("detector"))
        write_csv(table, folder / f"{dataset}.{name}.csv")


def _result_paths(root: Path, detector: str, dataset: str) -> dict[str, Path]:
    details, plots = root / "details" / detector, root / "plots" / detector
    return {
        "metrics": root / "metrics" / detector / f"{dataset}.json",
        "details": details / f"{dataset}.csv",
        "deployment": root / "calibration" / detector / f"{dataset}.json",
        "notes": details / f"{dataset}.json",
        **{name: plots / f"{dataset}.{name}.csv" for name in CURVES},
    }


def _read(paths: dict[str, Path]) -> EvaluationResult:
    try:
        notes = json.loads(paths["notes"].read_text(encoding="utf-8"))
        tables = {name: _read_table(paths[name]) for name in ("details", *CURVES)}
        return EvaluationResult(
            metrics=json.loads(paths["metrics"].read_text(encoding="utf-8")),
            **{name: notes[key] for name, key in NOTE_KEYS.items()},
            deployment=decisions.load(paths["deployment"]) if paths["deployment"].exists() else None,
            details=tables.pop("details"),
            curves=tables,
            worst_errors=pd.DataFrame(notes["hardest"], columns=["path", "label", "generator", "score"]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{paths['metrics']}: its details cannot be read: {error}; evaluate it again") from None


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table; names stay text, be they ``NA`` or ``2024``; numbers read back to the same bits."""
    table = pd.read_csv(path, dtype=object, keep_default_na=False)
    for column in table.columns.difference(["view", "kind", "name"], sort=False):
        kind = int if column.startswith("num") else float
        table[column] = [kind(cell or "nan") for cell in table[column]]
    return table
