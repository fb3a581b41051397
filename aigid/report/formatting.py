"""A table as Markdown."""

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigid.report import summary_tables
from aigid.report.summary_tables import Judgements


def pipe_table(table: pd.DataFrame) -> str:
    """The table with a header; a bar in a cell is escaped."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


# A table for a paper.

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "&%$#_{}"} | {"\\": r"\textbackslash{}"})


def latex(rows: pd.DataFrame, caption: str) -> str:
    """The rows as a LaTeX table (package booktabs), the first column flush left and the others right."""
    lines = [" & ".join(_text(cell) for cell in row) + r" \\" for row in (rows.columns, *rows.to_numpy())]
    body = [lines[0], r"\midrule", *lines[1:]]
    columns = "l" + "r" * (len(rows.columns) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_text(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", *body, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _text(cell: object) -> str:
    """LaTeX's own characters made harmless; ``~`` and ``^`` need a brace of their own."""
    return str(cell).translate(_SPECIAL).replace("~", r"\~{}").replace("^", r"\^{}")


# A judgement on a terminal.


def show(judgements: Judgements, console: Console, differences: pd.DataFrame | None = None) -> None:
    """Print the verdict on each detector, where it fails, what is missing and every warning."""
    for line in summary_tables.warnings(judgements):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    _print(summary_tables.headline_table(judgements).set_index("detector").T.rename_axis("").reset_index(), "", console)
    for title, rows in summary_tables.tables(judgements, differences).items():
        _print(rows, title, console)
    for line in summary_tables.missing_table(judgements):
        console.print(f"left out: {line}", style="dim", markup=False, highlight=False)


def _print(rows: pd.DataFrame, title: str, console: Console) -> None:
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in rows:
        table.add_column(Text(str(column)), overflow="fold")
    for row in rows.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)
