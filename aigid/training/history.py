"""What a detector wrote down while it learnt, as CSV files that ``dvc plots`` draws."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aigid.core.files import atomic_write

TrainingLog = dict[str, pd.DataFrame]  # one row an epoch


def write_csv_logs(logs: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write ``<name>.csv`` for each log; what could not be measured is an empty cell."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in logs.items():
        with atomic_write(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False, lineterminator="\n", float_format="%.6g")
