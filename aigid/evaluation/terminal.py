"""A judgement on a terminal."""

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigid.evaluation import summary
from aigid.evaluation.summary import Judgements


def show(judgements: Judgements, console: Console, differences: pd.DataFrame | None = None) -> None:
    """Print the verdict on each detector, where it fails, what is missing and every warning."""
    for line in summary.warnings(judgements):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    _print(summary.verdicts(judgements).set_index("detector").T.rename_axis("").reset_index(), "", console)
    for title, rows in summary.tables(judgements, differences).items():
        _print(rows, title, console)
    for line in summary.omissions(judgements):
        console.print(f"left out: {line}", style="dim", markup=False, highlight=False)


def _print(rows: pd.DataFrame, title: str, console: Console) -> None:
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in rows:
        table.add_column(Text(str(column)), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
