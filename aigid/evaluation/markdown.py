"""A table as Markdown."""

import pandas as pd


def pipe_table(table: pd.DataFrame) -> str:
    """The table with a header; a bar in a cell is escaped."""
    rows = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
