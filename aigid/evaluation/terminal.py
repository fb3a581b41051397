"""A judgement on a terminal."""

from rich.console import Console
from rich.table import Table

from aigid.evaluation import report, summary
from aigid.evaluation.summary import Judgements


def show(judgements: Judgements, console: Console) -> None:
    """Print the verdict on each detector, where it fails, what is missing and every warning."""
    for line in summary.warnings(judgements):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    verdicts = summary.verdicts(judgements).set_index("detector").T.rename_axis("").reset_index()
    _print(verdicts, "", console)
    for title, table in report.TABLES.items():
        rows = table(judgements)
        if len(rows):
            _print(rows, title, console)
    for line in summary.omissions(judgements):
        console.print(f"left out: {line}", style="dim", markup=False, highlight=False)


def _print(rows, title: str, console: Console) -> None:
    table = Table(*map(str, rows.columns), title=title or None, title_justify="left")
    ...
