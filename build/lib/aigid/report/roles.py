"""Datasets by their roles: those that may be learnt from, and those that nothing learns from."""

import math
from collections.abc import Mapping

import pandas as pd

from aigid.core.manifest import ROLES
from aigid.evaluation.comparison import Results, non_controls
from aigid.report.summary_tables import NONE

ROLE_ORDER = ("", *ROLES)


def role_of(results: Results) -> str:
    """Return the role of a dataset: "" of one that may be learnt from."""
    return next((result.run_info["role"] for result in results.values() if "role" in result.run_info), "")


def by_role(datasets: Mapping[str, Results]) -> pd.DataFrame:
    """Return one row per role: its datasets, and the mean AUROC of each detector; none where no dataset has a role."""
    rows: list[dict[str, str]] = []
    for role in ROLE_ORDER:
        members = {name: results for name, results in datasets.items() if role_of(results) == role}
        values: dict[str, list[float]] = {}
        for results in members.values():
            for detector, result in non_controls(results).items():
                values.setdefault(detector, []).append(result.metrics.get("auroc", math.nan))
        means = {detector: f"{sum(part) / len(part):.3f}" for detector, part in values.items()}
        rows += [{"role": role or "none", "datasets": ", ".join(members), **means}] if members else []
    known = any(row["role"] != "none" for row in rows)
    return pd.DataFrame(rows if known else []).fillna(NONE).replace("nan", NONE)
