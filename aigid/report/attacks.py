"""What an attacker can do to a detector, from the table of a study of attacks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.metrics.decisions import GENERATED, REAL
from aigid.metrics.intervals import Interval

TITLE = "What an attacker can do"
NOTES = (
    "Test images after an attack, judged as files at the operating point: the share of generated ones that are missed "
    "and of photographs that are accused, and AUROC of attacked generated images among photographs as they are. "
    "Strengths are L-inf of 255 for FGSM and PGD, areas for patches. `detector`: by its own gradients; `surrogate`: by "
    "those of a probe on another encoder. `to uncertain`: mixed with the image as it was until the detector abstains. "
    "Brackets hold 95 % intervals."
)
TARGET = "detector"
TEXT = ("source", "target", "attack", "strength", "images", "counted_as")
METRICS = ("auroc", "wrong", "uncertain")
NUMBERS = tuple(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high"))


def read(path: Path) -> pd.DataFrame:
    """Return a row for each attack on the detector from the table of a study, .csv; InputError where it is none."""
    table = tables.to_numeric(tables.read(path, (*TEXT, *NUMBERS)), NUMBERS, path)
    table = table[table["target"] == TARGET]
    if table.empty:
        raise InputError(f"{path}: column target: no {TARGET!r}")
    for column in ("images", "counted_as"):
        tables.refuse(table, column, ~table[column].isin((REAL, GENERATED)), f"want {REAL} or {GENERATED}", str(path))
    for column in NUMBERS:
        tables.refuse(table, column, (table[column] < 0) | (table[column] > 1), "want a share, 0 to 1", str(path))
    twice = table.duplicated(["attack", "strength", "source", "images"])
    tables.refuse(table, "attack", twice, "stands twice for these images", str(path))
    return pd.DataFrame([_row(key, part) for key, part in table.groupby(["attack", "strength", "source"], sort=False)])


def _row(key: tuple[Any, ...], part: pd.DataFrame) -> dict[str, str]:
    """Return an attack's cells; what counts as generated now, though it was a photograph, stands by itself."""
    rows = {str(row["images"]): row for row in part.to_dict("records")}
    real, fake = rows.get(REAL), rows.get(GENERATED)
    redrawn = real is not None and real["counted_as"] != REAL
    counted = real if redrawn else fake
    attack, strength, source = key
    return {
        "attack": f"{attack}, of photographs" if redrawn else attack,
        "strength": strength,
        "gradients": source or "-",
        "AUROC": _cell(counted, "auroc"),
        "missed": _cell(counted, "wrong"),
        "accused": "-" if redrawn else _cell(real, "wrong"),
        "uncertain, generated": _cell(counted, "uncertain"),
        "uncertain, photographs": "-" if redrawn else _cell(real, "uncertain"),
    }


def _cell(row: dict[Any, Any] | None, name: str) -> str:
    if row is None or np.isnan(row[name]):
        return "-"
    return str(Interval.of(row, name))
