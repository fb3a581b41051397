"""The figures of a report, drawn without a display; equal results give equal bytes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aigid.evaluation.judge import Judgement
from aigid.files import atomic

Judgements = Mapping[str, Judgement]  # by detector, on one dataset
MOST = 10  # colours that can be told apart


def save(figure: Figure, path: Path | str) -> None:
    """Write ``figure`` as PNG or SVG by suffix, atomically and without a date."""
    with atomic(path) as part:
        figure.savefig(part, dpi=150, metadata={"Software" if part.suffix == ".png" else "Date": None})


def roc(judgements: Judgements) -> Figure:
    """The ROC curve of every detector over the diagonal of chance."""
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for colour, (name, judgement) in enumerate(judgements.items()):
        if len(curve := judgement.curves["roc"]):
            label = f"{name}  {judgement.metrics['auroc']:.3f}"
            axes.plot(curve["fpr"], curve["tpr"], label=label, **_style(colour))
    axes.set(
        xlabel="reals called generated (FPR)", ylabel="fakes found (TPR)", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    _legend(axes, "AUROC", "lower right")
    return figure


def generators(judgements: Judgements) -> Figure:
    """The heat map of AUROC, one row per detector and one column per generator."""
    rows = {}
    for name, judgement in judgements.items():
        table = judgement.details
        here = table[(table["kind"] == "generator") & (table["view"] == judgement.view)]
        rows[name] = dict(zip(here["name"], here["auroc"], strict=True))
    columns = sorted({name for row in rows.values() for name in row})
    values = np.array([[row.get(name, np.nan) for name in columns] for row in rows.values()], dtype=float)
    return _heat_map(values.reshape(len(rows), len(columns)), list(rows), columns)


def _heat_map(values: np.ndarray, rows: list[str], columns: list[str]) -> Figure:
    figure = Figure(figsize=(2.5 + 0.75 * max(len(columns), 1), 1.6 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "black" if value > 0.8 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axes, label="AUROC", extend="min")
    return figure


def _style(number: int) -> dict:
    """Ten colours, then the same dashed."""
    return {
        "color": f"C{number % MOST}",
        "linestyle": ("-", "--", ":")[number // MOST % 3],
        "linewidth": 1.6,
        "clip_on": False,
    }


def _legend(axes: Axes, title: str, place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=title, loc=place, frameon=False, fontsize=8, title_fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
