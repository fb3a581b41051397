"""Figures of a report, plotted without a display; equal results give equal bytes."""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aigid.core import escape
from aigid.core.files import atomic_write
from aigid.evaluation.comparison import CONTROLS, Results

PALETTE = [color for color in mpl.color_sequences["tab10"] if len(set(np.round(to_rgb(color), 2))) > 1]
MAX_LEGEND_INSIDE = 4  # names in a legend within the axes of curves; more stand outside


def save(figure: Figure, path: Path | str) -> None:
    """Write ``figure`` as PNG, atomically."""
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150, metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """Return the figure as an SVG image whose text stays text, without a date."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "aigid"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def roc(results: Results) -> Figure:
    """Plot the ROC curve of every detector over the diagonal of chance."""
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel="reals called generated (FPR)", ylabel="fakes found (TPR)", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for number, (name, result) in enumerate(results.items()):
        points = result.curves["roc"]
        if len(points) and "auroc" in result.metrics:
            label = f"{result.metrics['auroc']:.3f}  {escape.figure(name)}"
            axes.plot(*points[["fpr", "tpr"]].to_numpy().T, label=label, clip_on=False, **color(number, name))
    num = len(axes.get_legend_handles_labels()[0])
    if num:
        is_outside = num > MAX_LEGEND_INSIDE
        options: dict[str, Any] = (
            {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if is_outside else {"loc": "lower right"}
        )
        axes.legend(title="AUROC", frameon=False, fontsize=8, title_fontsize=8, **options)
        figure.set_size_inches(7.2 if is_outside else 5.2, 5.2)
    return figure


def generators(results: Results) -> Figure:
    """Plot the heat map of AUROC, one row per detector and one column per generator."""
    rows = {name: result.parts("generator").set_index("name")["auroc"] for name, result in results.items()}
    return heat_map(pd.DataFrame(rows, dtype=float).T.sort_index(axis=1))


def heat_map(table: pd.DataFrame) -> Figure:
    """Plot AUROC by row and column, each cell with its number, empty where there is none."""
    rows, columns = ([*map(escape.figure, names)] for names in (table.index, table.columns))
    figure = Figure(figsize=(2.5 + 0.75 * max(table.shape[1], 1), 1.6 + 0.4 * len(table)), layout="constrained")
    if table.empty:
        return figure
    axes = figure.subplots()
    image = axes.imshow(table.to_numpy(float), vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(table.to_numpy(float)):
        if not np.isnan(value):
            color = "black" if value > 0.8 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
    figure.colorbar(image, ax=axes, label="AUROC", extend="min")
    return figure


def save_occlusion_map(image: NDArray[np.uint8], drops: NDArray[Any], title: str, out: Path) -> None:
    """Draw an image (H, W, 3) beside its occlusion map (grid, grid)."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    plain, overlaid = figure.subplots(1, 2)
    limit, extent = max(np.abs(drops).max(), 1e-6), (0, image.shape[1], image.shape[0], 0)
    plain.imshow(image, extent=extent)
    overlaid.imshow(image.mean(axis=2), cmap="gray", extent=extent)
    heat = overlaid.imshow(drops, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6, extent=extent)
    figure.colorbar(heat, ax=overlaid, label="fall of the score where covered")
    figure.suptitle(escape.figure(title), fontsize=9)
    for axes in (plain, overlaid):
        axes.set_axis_off()
    save(figure, out)


def color(number: int, detector: str) -> dict[str, Any]:
    """Return the style of a detector: the palette, then the same dashed; controls are gray, each with a pattern."""
    if detector in CONTROLS:
        pattern = ("-", "--", ":", "-.")[CONTROLS.index(detector)]
        return {"color": "0.55", "linestyle": pattern, "linewidth": 1.2}
    turn, index = divmod(number, len(PALETTE))
    return {"color": PALETTE[index], "linestyle": ("-", "--", ":")[turn % 3], "linewidth": 1.6}
