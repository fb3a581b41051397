"""The values of a feature in few words."""

import pandas as pd

from aigid.data.audit.container import ABSENT

MOST = 2


def summary(values: pd.Series) -> str:
    """``512 (93 %)``, the commonest values and their shares; or where none stands out ``median 480 (333 to 640)``."""
    shares = values.value_counts(normalize=True)
    if pd.api.types.is_numeric_dtype(values) and shares.iloc[0] < 0.3:
        low, middle, high = map(_text, values.quantile([0.05, 0.5, 0.95]))
        return f"median {middle} ({low} to {high})"
    return ", ".join(f"{_text(value)} ({share * 100:.0f} %)" for value, share in shares.head(MOST).items())


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value == ABSENT:
        return "none"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
