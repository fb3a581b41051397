"""What a report can hold besides its datasets: the reading of a protocol, an ablation, an audit."""

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


@dataclass(frozen=True)
class Section:
    """What else a report tells: a line, tables by title, figures by caption."""

    line: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


# Where judgements lie on disk: the flat numbers in one folder, tables and curves in two others.

CURVES = ("roc", "pr", "reliability", "calibrated")
NOTE_KEYS = {
    "view": "view",
    "warnings": "warnings",
    "missing_metrics": "omitted",
    "run_info": "facts",
}  # field: JSON key
Cell = tuple[str, str]  # detector, dataset


def write(judgement: EvaluationResult, root: Path | str, detector: str, dataset: str) -> None:
    """Write ``metrics/<detector>/<dataset>.json``, ``details/<detector>/<dataset>.{csv,json}`` and the curves.

    The curves are ``plots/<detector>/<dataset>.<roc|pr|reliability|calibrated>.csv``, with a header alone where there
    is none. Where there were validation images, ``calibration/<detector>/<dataset>.json`` is what they led to.
    """
    places = _result_paths(Path(root), detector, dataset)
    write_json(places["metrics"], judgement.metrics)
    if judgement.deployment:
        decisions.save(judgement.deployment, places["deployment"])
    else:
        places["deployment"].unlink(missing_ok=True)
    notes = {key: getattr(judgement, name) for name, key in NOTE_KEYS.items()}
    write_json(places["notes"], notes | {"hardest": judgement.worst_errors.to_dict("records")})
    for name, table in {"details": judgement.details, **judgement.curves}.items():
        with atomic_write(places[name]) as part:
            table.to_csv(part, index=False, lineterminator="\n")


def read(root: Path | str, wanted: Iterable[Cell] | None = None) -> dict[Cell, EvaluationResult]:
    """The judgements below ``root`` by detector and dataset; InputError if none or not all ``wanted`` are there."""
    root = Path(root)
    found = sorted((file.parent.name, file.stem) for file in root.glob("metrics/*/*.json"))
    if missing := sorted(set(wanted or ()) - set(found)):
        raise InputError(f"{root}: no metrics of {', '.join('/'.join(cell) for cell in missing)}")
    if not found:
        raise InputError(f"{root}: no metrics/<detector>/<dataset>.json to report on")
    return {cell: _read(_result_paths(root, *cell)) for cell in found}


def write_curves(judgements: Mapping[Cell, EvaluationResult], folder: Path) -> None:
    """Write ``<dataset>.<roc|pr>.csv`` below ``folder``: the curves of all detectors, by the column ``detector``."""
    for dataset, name in product(dict.fromkeys(dataset for _, dataset in judgements), ("roc", "pr")):
        parts = [
            judgement.curves[name].assign(detector=detector)
            for (detector, other), judgement in judgements.items()
            if other == dataset
        ]
        table = pd.concat([part for part in parts if len(part)] or parts[:1])
        table.insert(0, "detector", table.pop("detector"))
        with atomic_write(folder / f"{dataset}.{name}.csv") as part:
            table.to_csv(part, index=False, lineterminator="\n")


def _result_paths(root: Path, detector: str, dataset: str) -> dict[str, Path]:
    details, plots = root / "details" / detector, root / "plots" / detector
    return {
        "metrics": root / "metrics" / detector / f"{dataset}.json",
        "details": details / f"{dataset}.csv",
        "deployment": root / "calibration" / detector / f"{dataset}.json",
        "notes": details / f"{dataset}.json",
        **{name: plots / f"{dataset}.{name}.csv" for name in CURVES},
    }


def _read(places: dict[str, Path]) -> EvaluationResult:
    try:
        notes = json.loads(places["notes"].read_text(encoding="utf-8"))
        tables = {name: _table(places[name]) for name in ("details", *CURVES)}
        return EvaluationResult(
            metrics=json.loads(places["metrics"].read_text(encoding="utf-8")),
            **{name: notes[key] for name, key in NOTE_KEYS.items()},
            deployment=decisions.load(places["deployment"]) if places["deployment"].exists() else None,
            details=tables.pop("details"),
            curves=tables,
            worst_errors=pd.DataFrame(notes["hardest"], columns=["path", "label", "generator", "score"]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{places['metrics']}: its details cannot be read: {error}; evaluate it again") from None


def _table(path: Path) -> pd.DataFrame:
    """Names stay text, be they ``NA`` or ``2024``; numbers read back to the same bits."""
    table = pd.read_csv(path, dtype=object, keep_default_na=False)
    for column in table.columns.difference(["view", "kind", "name"], sort=False):
        kind = int if column.startswith("num") else float
        table[column] = [kind(cell or "nan") for cell in table[column]]
    return table
