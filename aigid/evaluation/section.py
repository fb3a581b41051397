"""What a report can hold besides its datasets: the reading of a protocol, an ablation, an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:  # judging knows sections and draws nothing
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """What else a report tells: a line, tables by title, figures by caption."""

    line: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
