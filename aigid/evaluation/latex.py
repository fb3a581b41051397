"""A table for a paper."""

import pandas as pd

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
