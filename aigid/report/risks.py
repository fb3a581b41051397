"""What goes wrong to expect: false alarms by prevalence and on edited photographs, and what an attacker can do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.degradations.policies import EDITS
from aigid.evaluation.comparison import Results, non_controls
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics.decisions import GENERATED, REAL
from aigid.metrics.intervals import Interval

PREVALENCES = (0.5, 0.1, 0.01)
IMAGES = 1000
THRESHOLDS = {"0.5": "05", "best on validation": "val", "for the target FPR": "operating"}
RATE_NOTES = (
    f"Of {IMAGES:,} images, some share of them generated: how many real images are accused, and how many of all "
    "accusations are wrong. From the test images' rates; other images, other rates."
)
UPSCALED = ("learned_upscale2", "learned_upscale4")  # of ``benchmarks.benign_edits``, which wants a network for them
EDITED = "False alarms on edited photographs"
EDIT_NOTES = (
    "The share of reals above the operating point (chosen on validation images as they are), by source and edit. "
    "Brackets hold Wilson's 95 % interval. No edit makes a photograph generated."
)


def per_1000(metrics: Mapping[str, float]) -> pd.DataFrame:
    """Return, per threshold and prevalence, of ``IMAGES`` images: reals accused, fakes found, accusations wrong."""
    rows = []
    for title, key in THRESHOLDS.items():
        names = (f"acc_real_{key}", f"acc_fake_{key}") if key != "operating" else ("operating_fpr", "operating_tpr")
        if not set(names) <= set(metrics):
            continue
        fpr, tpr = (metrics[name] for name in names)
        fpr = fpr if key == "operating" else 1 - fpr
        for share in PREVALENCES:
            wrong, right = fpr * IMAGES * (1 - share), tpr * IMAGES * share
            cells = {"threshold": title, "FPR": f"{fpr:.3f}", "TPR": f"{tpr:.3f}", "generated": f"{share:.0%}"}
            cells |= {"reals accused": f"{wrong:.1f}", "fakes found": f"{right:.1f}"}
            cells["of accusations wrong"] = f"{wrong / (wrong + right):.1%}" if wrong + right else "no accusation"
            rows.append(cells)
    return pd.DataFrame(rows)


def by_edit(results: Results) -> dict[str, pd.DataFrame]:
    """Return, by title, the FPR at the operating point of each detector whose scores hold edits.

    A row a source, ``all`` first: ``source, reals``, the headline's view and each edit.
    """
    tables = {name: _by_edit(result) for name, result in non_controls(results).items()}
    return {
        f"{name}: FPR at the operating point, by source and edit": table
        for name, table in tables.items()
        if table is not None
    }


def _by_edit(result: EvaluationResult) -> pd.DataFrame | None:
    details = result.details
    views = [result.view, *(view for view in (*EDITS, *UPSCALED) if view in set(details["view"]))]
    if len(views) < 2 or "fpr_operating" not in details or details["fpr_operating"].isna().all():
        return None
    rows: dict[str, dict[str, str]] = {}
    for view in views:
        for row in pd.concat([result.parts("all", view), result.parts("source", view)]).to_dict("records"):
            value = Interval.of(row, "fpr_operating")
            cells = rows.setdefault(row["name"], {"source": row["name"], "reals": str(row["num_real"])})
            cells[view] = str(value) if row["kind"] == "all" else f"{value.value:.3f}"
    return pd.DataFrame(list(rows.values())).fillna("-")


def read_edits(path: Path) -> pd.DataFrame:
    """Return the table of ``by_edit`` from a CSV, without further columns; InputError where it has no edit."""
    table = tables.read(path, ("source", "reals"))
    if not set(EDITS) & set(table):
        raise InputError(f"{path}: has no edit; known: {', '.join(EDITS)}")
    return table[[name for name in ("source", "reals", "clean", *EDITS, *UPSCALED) if name in table]]


ATTACKS = "What an attacker can do"
ATTACK_NOTES = (
    "Test images after an attack, judged as files at the operating point: the share of generated ones that are missed "
    "and of photographs that are accused, and AUROC of attacked generated images among photographs as they are. "
    "Strengths are L-inf of 255 for FGSM and PGD, areas for patches. `detector`: by its own gradients; `surrogate`: by "
    "those of a probe on another encoder. `to uncertain`: mixed with the image as it was until the detector abstains. "
    "Brackets hold 95 % intervals."
)
TARGET = "detector"
ATTACK_TEXT = ("source", "target", "attack", "strength", "images", "counted_as")
ATTACK_METRICS = ("auroc", "wrong", "uncertain")
ATTACK_NUMBERS = tuple(f"{name}{end}" for name in ATTACK_METRICS for end in ("", "_low", "_high"))


def read_attacks(path: Path) -> pd.DataFrame:
    """Return a row for each attack on the detector from the table of a study, .csv; InputError where it is none."""
    table = tables.to_numeric(tables.read(path, (*ATTACK_TEXT, *ATTACK_NUMBERS)), ATTACK_NUMBERS, path)
    table = table[table["target"] == TARGET]
    if table.empty:
        raise InputError(f"{path}: column target: no {TARGET!r}")
    for column in ("images", "counted_as"):
        tables.refuse(table, column, ~table[column].isin((REAL, GENERATED)), f"want {REAL} or {GENERATED}", str(path))
    for column in ATTACK_NUMBERS:
        tables.refuse(table, column, (table[column] < 0) | (table[column] > 1), "want a share, 0 to 1", str(path))
    twice = table.duplicated(["attack", "strength", "source", "images"])
    tables.refuse(table, "attack", twice, "stands twice for these images", str(path))
    return pd.DataFrame(
        [_attack_row(key, part) for key, part in table.groupby(["attack", "strength", "source"], sort=False)]
    )


def _attack_row(key: tuple[Any, ...], part: pd.DataFrame) -> dict[str, str]:
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
    return "-" if row is None or np.isnan(row[name]) else str(Interval.of(row, name))
