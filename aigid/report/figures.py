"""Figures of a report, plotted without a display; equal results give equal bytes."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aigid.core import escape
from aigid.core.files import atomic_write
from aigid.evaluation.comparison import CONTROLS, Results, non_controls

PALETTE = [color for color in mpl.color_sequences["tab10"] if len(set(np.round(to_rgb(color), 2))) > 1]
MAX_LEGEND_INSIDE = 4  # names in a legend within the axes of curves; more stand outside
HONEST = "honest scores keep to the diagonal"
DIAGONAL: dict[str, Any] = {"color": "0.7", "linewidth": 1, "linestyle": "--"}


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


def metric_bars(results: Results) -> Figure:
    """Plot AUROC of every detector in the headline view, with its interval."""
    return _intervals({name: result.parts("all").head(1) for name, result in results.items()}, "auroc", "AUROC")


def roc(results: Results) -> Figure:
    """Plot the ROC curve of every detector over the diagonal of chance."""
    figure, axes = _unit_axes("reals called generated (FPR)", "fakes found (TPR)")
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    _curves(axes, results, "roc", ("fpr", "tpr"), "auroc", "lower right")
    return figure


def precision_recall(results: Results) -> Figure:
    """Plot the precision-recall curve of every detector."""
    figure, axes = _unit_axes("fakes found (recall)", "precision")
    _curves(axes, non_controls(results), "pr", ("recall", "precision"), "ap", "lower left")
    return figure


def reliability(results: Results, curve: str = "reliability", metric: str = "ece") -> Figure:
    """Plot the share of fakes among images of one score, over that score; calibrated scores keep to the diagonal."""
    figure, axes = _unit_axes("mean score in bin", "share generated in bin")
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    _curves(axes, non_controls(results), curve, ("score", "share"), metric, "upper left", marker="o", markersize=4)
    return figure


def calibrated(results: Results) -> Figure:
    """Plot ``reliability`` of the calibrated scores."""
    return reliability(results, "calibrated", "ece_calibrated")


def views(results: Results) -> Figure:
    """Plot AUROC of every detector by view, with its interval; views by name and falling quality."""
    results = non_controls(results)
    tables = {name: rows.details.query("kind == 'all'").set_index("view") for name, rows in results.items()}
    first = {result.view for result in results.values()}
    names = sorted({view for table in tables.values() for view in table.index}, key=lambda view: _severity(view, first))
    figure = Figure(figsize=(max(6.4, 2.8 + 0.6 * len(names)), 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.5, **DIAGONAL)
    for number, (name, table) in enumerate(tables.items()):
        table = table.reindex(names)
        x = np.arange(len(names)) + 0.08 * (number - (len(tables) - 1) / 2)
        axes.vlines(x, table["auroc_low"], table["auroc_high"], color=PALETTE[number % len(PALETTE)], linewidth=1)
        axes.plot(x, table["auroc"], marker="o", markersize=4, label=escape.figure(name), **_color(number, name))
    axes.set_xticks(range(len(names)), map(escape.figure, names), rotation=35, ha="right", rotation_mode="anchor")
    axes.set(ylabel="AUROC", ylim=(min(axes.get_ylim()[0], 0.45), 1.01))
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def sources(results: Results) -> Figure:
    """Plot the share of each source's reals that every detector calls generated at 0.5, with its interval."""
    tables = {name: result.parts("source") for name, result in non_controls(results).items()}
    return _intervals(tables, "fpr_05", "reals called generated at 0.5")


def generators(results: Results) -> Figure:
    """Plot the heat map of AUROC, one row per detector and one column per generator."""
    rows = {name: result.parts("generator").set_index("name")["auroc"] for name, result in results.items()}
    return heat_map(pd.DataFrame(rows, dtype=float).T.sort_index(axis=1))


def heat_map(table: pd.DataFrame) -> Figure:
    """Plot AUROC by row and column, each cell with its number, empty where there is none."""
    rows, columns = ([*map(escape.figure, names)] for names in (table.index, table.columns))
    figure = Figure(figsize=(2.5 + 0.75 * max(table.shape[1], 1), 1.6 + 0.4 * len(table)), layout="constrained")
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


# By name: the function that plots it, and its caption.
FIGURES: dict[str, tuple[Callable[[Results], Figure], str]] = {
    "verdicts": (metric_bars, "AUROC with its 95 % interval; 0.5 is chance."),
    "roc": (roc, "Fakes found against reals called generated, over all thresholds."),
    "pr": (precision_recall, "Precision against the share of fakes found, at the test set's own share of fakes."),
    "reliability": (reliability, f"Share of fakes among images of one score, as scored; {HONEST}."),
    "calibrated": (calibrated, "The same after calibration on the validation images."),
    "generators": (generators, "AUROC of each generator's fakes against all reals."),
    "sources": (sources, "Share of each source's reals called generated at 0.5, with its 95 % interval."),
    "views": (views, "AUROC in each view with its 95 % interval: what delivery costs."),
}


def has_data(name: str, results: Results) -> bool:
    """Return whether the figure has anything to show: several parts, or curves."""
    details = pd.concat([result.details for result in results.values()])
    if name == "views":
        return details["view"].nunique() > 1
    if name == "calibrated":
        return any(len(result.curves[name]) for result in results.values())
    if name in ("generators", "sources"):
        return bool((details["kind"] == name.removesuffix("s")).any())
    return bool(details["auroc"].notna().any())


def _severity(view: str, first: set[str]) -> tuple[bool, str, int]:
    """Sort the headline first, then by name; stronger blur and lower quality or size come later."""
    letters = view.rstrip("0123456789")
    number = int(view[len(letters) :] or 0)
    return view not in first, letters, number if letters == "blur" else -number


def _unit_axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curves(
    axes: Axes, results: Results, curve: str, columns: tuple[str, str], metric: str, loc: str, **style: Any
) -> None:
    for number, (name, result) in enumerate(results.items()):
        points = result.curves[curve]
        if len(points) and metric in result.metrics:
            label = f"{result.metrics[metric]:.3f}  {escape.figure(name)}"
            axes.plot(*points[list(columns)].to_numpy().T, label=label, clip_on=False, **_color(number, name), **style)
    num = len(axes.get_legend_handles_labels()[0])
    if num:
        title = {"auroc": "AUROC", "ap": "AP", "ece": "ECE", "ece_calibrated": "ECE"}[metric]
        legend = {"loc": loc} if num <= MAX_LEGEND_INSIDE else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axes.legend(title=title, frameon=False, fontsize=8, title_fontsize=8, **legend)
        if num > MAX_LEGEND_INSIDE:
            axes.figure.set_size_inches(7.2, 5.2)  # type: ignore[union-attr]


def _intervals(tables: Mapping[str, pd.DataFrame], metric: str, label: str) -> Figure:
    """Plot dots with whiskers: parts from top to bottom, within each the detectors in their colors."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table["name"]))
    figure = Figure(figsize=(6.4, 1.2 + (0.16 * len(tables) + 0.2) * max(len(names), 1)), layout="constrained")
    axes = figure.subplots()
    step = 0.8 / max(len(tables), 1)
    for number, (detector, table) in enumerate(tables.items()):
        table = table[table[metric].notna()]
        y = [names.index(name) - 0.4 + step * (number + 0.5) for name in table["name"]]
        low, high = (table[f"{metric}{end}"].fillna(table[metric]) for end in ("_low", "_high"))
        color = _color(number, detector)["color"]
        axes.hlines(y, low, high, color=color, linewidth=1.5)
        axes.plot(table[metric], y, "o", color=color, markersize=4, label=escape.figure(detector))
    axes.set_yticks(range(len(names)), ["" if name == "all" else escape.figure(name) for name in names])
    axes.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="x", color="0.9")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
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


def _color(number: int, detector: str) -> dict[str, Any]:
    """Return the style of a detector: the palette, then the same dashed; controls are gray, each with a pattern."""
    if detector in CONTROLS:
        pattern = ("-", "--", ":", "-.")[CONTROLS.index(detector)]
        return {"color": "0.55", "linestyle": pattern, "linewidth": 1.2}
    turn, index = divmod(number, len(PALETTE))
    return {"color": PALETTE[index], "linestyle": ("-", "--", ":")[turn % 3], "linewidth": 1.6}
