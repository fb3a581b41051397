"""Tables as Markdown, as LaTeX and on a terminal."""

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigid.evaluation.comparison import Results
from aigid.report import summary_tables

LATEX = str.maketrans({character: f"\\{character}" for character in "&%$#_{}"} | {"\\": r"\textbackslash{}"})


def pipe_table(table: pd.DataFrame) -> str:
    """Return the table as Markdown with a header; a bar in a cell is escaped."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def latex(rows: pd.DataFrame, caption: str) -> str:
    """Return a LaTeX table (package booktabs), the first column flush left and the others right."""
    header, *body = [" & ".join(_escape(cell) for cell in row) + r" \\" for row in (rows.columns, *rows.to_numpy())]
    columns = "l" + "r" * (len(rows.columns) - 1)
    return "\n".join(
        [
            *(r"\begin{table}", rf"\caption{{{_escape(caption)}}}", rf"\begin{{tabular}}{{{columns}}}"),
            *(r"\toprule", header, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", r"\end{table}"),
        ]
    )


def _escape(cell: object) -> str:
    """Escape LaTeX's own characters; ``~`` and ``^`` need a brace of their own."""
    return str(cell).translate(LATEX).replace("~", r"\~{}").replace("^", r"\^{}")


def show(results: Results, console: Console, differences: pd.DataFrame | None = None) -> None:
    """Print the headline of each detector, the tables, what is missing and every warning."""
    for line in summary_tables.warnings(results):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    headline = summary_tables.headline_table(results).set_index("detector").T.rename_axis("").reset_index()
    for title, rows in {"": headline, **summary_tables.tables(results, differences)}.items():
        table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in rows:
            table.add_column(Text(str(column)), overflow="fold")
        for row in rows.itertuples(index=False):
            table.add_row(*(Text(str(cell)) for cell in row))
        console.print(table)
    for line in summary_tables.missing_table(results):
        console.print(f"left out: {line}", style="dim", markup=False, highlight=False)
