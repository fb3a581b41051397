"""The cross-generator table as a section of a report: who teaches a detector to see whom."""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.base import tables
from aigid.evaluation.figures import heat_map
from aigid.evaluation.section import Section

COLUMNS = ("trained_on", "tested_on", "seen", "auroc", "low", "high")
READING = (
    "AUROC on each test generator's fakes against all test reals, by the generators whose fakes were in training (the "
    "reals are always the same). An asterisk marks a generator that was not in training."
)


def read(path: Path | str) -> pd.DataFrame:
    """The table that the stage ``cross`` wrote, numbers as float64."""
    return tables.as_numbers(tables.read(path, COLUMNS), COLUMNS[2:], path)


def section(table: pd.DataFrame) -> Section:
    """A heat map, the same numbers with their intervals, and the mean over the generators that were not in training."""
    shape = {"index": "trained_on", "columns": "tested_on"}
    order = list(dict.fromkeys(table["trained_on"]))
    values = table.pivot(**shape, values="auroc").loc[order]
    cells = [
        f"{value:.3f} [{low:.3f}, {high:.3f}]{'' if seen else ' *'}"
        for value, low, high, seen in table[["auroc", "low", "high", "seen"]].to_numpy()
    ]
    shown = table.assign(cell=cells).pivot(**shape, values="cell").loc[order]
    unseen = table["auroc"].where(table["seen"] == 0).groupby(table["trained_on"]).mean()[order]
    shown["mean of unseen *"] = ["-" if np.isnan(value) else f"{value:.3f}" for value in unseen]
    rows = shown.rename_axis("trained on").rename_axis(None, axis=1).reset_index()
    return Section(READING, {"AUROC": rows}, {"Trained on (rows), tested on (columns).": heat_map(values)})
