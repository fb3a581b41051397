"""False alarms to expect: of a thousand images by prevalence, and of photographs that were edited."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.evaluation.comparison import Results, non_controls
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics.intervals import Interval

PREVALENCES = (0.5, 0.1, 0.01)
IMAGES = 1000
THRESHOLDS = {"0.5": "05", "best on validation": "val", "for the target FPR": "operating"}
NOTES = (
    f"Of {IMAGES:,} images, some share of them generated: how many real images are accused, and how many of all "
    "accusations are wrong. From the test images' rates; other images, other rates."
)
UPSCALED = ("learned_upscale2", "learned_upscale4")  # of ``benchmarks.benign_edits``, which wants a network for them
EDITS = (  # the views that are edits, as named by ``aigid.degradations.policies``
    *("denoise", "sharpen", "color_grade", "tone_map", "portrait_blur"),
    *("upscale2", "watermark", "text_overlay", "collage"),
)
EDITED = "False alarms on edited photographs"
EDIT_NOTES = (
    "The share of reals above the operating point (chosen on validation images as they are), by source and edit. "
    "Brackets hold Wilson's 95 % interval. No edit makes a photograph generated."
)
ALL = "all"


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


def read(path: Path) -> pd.DataFrame:
    """Return the table of ``by_edit`` from a CSV, without further columns; InputError where it has no edit."""
    table = tables.read(path, ("source", "reals"))
    if not set(EDITS) & set(table):
        raise InputError(f"{path}: has no edit; known: {', '.join(EDITS)}")
    return table[[name for name in ("source", "reals", "clean", *EDITS, *UPSCALED) if name in table]]
