"""The ablation of the network's channels as a section of a report."""

from pathlib import Path

import pandas as pd

from aigid.base import tables
from aigid.evaluation.section import Section

COLUMNS = ("network", "val_f1_macro", "auroc", "acc", "f1_macro")
READING = (
    "The five-channel network with fewer channels, each trained for the same few epochs from the same seed, on test "
    "images of the generators that training has. One seed: small differences mean nothing."
)


def read(path: Path | str) -> pd.DataFrame:
    """The table that the stage ``ablate_cnn`` wrote, numbers as float64."""
    return tables.as_numbers(tables.read(path, COLUMNS), COLUMNS[1:], path)


def section(table: pd.DataFrame) -> Section:
    """One row a set of channels."""
    names = {"network": "channels", "val_f1_macro": "validation F1", "auroc": "AUROC", "f1_macro": "F1"}
    shown = table.assign(**{column: [f"{value:.3f}" for value in table[column]] for column in COLUMNS[1:]})
    return Section(READING, {"Channels": shown.rename(columns=names | {"acc": "accuracy"})})
