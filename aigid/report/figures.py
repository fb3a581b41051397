"""The figures of a report, drawn without a display; equal results give equal bytes."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aigid.core.files import atomic_write
from aigid.evaluation.comparison import CONTROLS, non_controls
from aigid.evaluation.evaluate import EvaluationResult

Judgements = Mapping[str, EvaluationResult]  # by detector, on one dataset
PALETTE = [colour for colour in mpl.color_sequences["tab10"] if len({round(part, 2) for part in colour}) > 1]
MAX_LEGEND_INSIDE = 4  # names that a legend may have within the axes of curves; more stand beside them
DIAGONAL = {"color": "0.7", "linewidth": 1, "linestyle": "--"}


def save(figure: Figure, path: Path | str) -> None:
    """Write ``figure`` as PNG, atomically."""
    with atomic_write(path) as part:
        figure.savefig(part, dpi=150, metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """The figure as an SVG image whose text stays text, without a date."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "aigid"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def metric_bars(judgements: Judgements) -> Figure:
    """AUROC of every detector in the headline view, with its interval."""
    return _intervals(
        {name: _rows(judgement, "all").head(1) for name, judgement in judgements.items()}, "auroc", "AUROC"
    )


def roc(judgements: Judgements) -> Figure:
    """The ROC curve of every detector over the diagonal of chance."""
    axes = _unit_axes("reals called generated (FPR)", "fakes found (TPR)")
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    _curves(axes, judgements, "roc", ("fpr", "tpr"), "auroc", "lower right")
    return axes.figure


def precision_recall(judgements: Judgements) -> Figure:
    """The precision-recall curve of every detector."""
    judgements = non_controls(judgements)
    axes = _unit_axes("fakes found (recall)", "precision")
    _curves(axes, judgements, "pr", ("recall", "precision"), "ap", "lower left")
    return axes.figure


def reliability(judgements: Judgements) -> Figure:
    """The share of fakes among images of one score, over that score; honest scores keep to the diagonal."""
    return _reliability(judgements, "reliability", "ece")


def calibrated(judgements: Judgements) -> Figure:
    """The same of the calibrated scores."""
    return _reliability(judgements, "calibrated", "ece_calibrated")


def views(judgements: Judgements) -> Figure:
    """AUROC of every detector from view to view, with its interval; views stand by name and falling quality."""
    judgements = non_controls(judgements)
    tables = {
        name: judgement.details[judgement.details["kind"] == "all"].set_index("view")
        for name, judgement in judgements.items()
    }
    first = {judgement.view for judgement in judgements.values()}
    names = sorted({view for table in tables.values() for view in table.index}, key=lambda view: _severity(view, first))
    figure = Figure(figsize=(max(6.4, 2.8 + 0.6 * len(names)), 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.5, **DIAGONAL)
    for number, (name, table) in enumerate(tables.items()):
        table = table.reindex(names)
        place = np.arange(len(names)) + 0.08 * (number - (len(tables) - 1) / 2)
        axes.vlines(place, table["auroc_low"], table["auroc_high"], color=PALETTE[number % len(PALETTE)], linewidth=1)
        axes.plot(place, table["auroc"], marker="o", markersize=4, label=name, **_colour(number, name))
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set(ylabel="AUROC", ylim=(min(axes.get_ylim()[0], 0.45), 1.01))
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def sources(judgements: Judgements) -> Figure:
    """The share of each source's reals that every detector calls generated at 0.5, with its interval."""
    tables = {name: _rows(judgement, "source") for name, judgement in non_controls(judgements).items()}
    return _intervals(tables, "fpr_05", "reals called generated at 0.5")


def generators(judgements: Judgements) -> Figure:
    """The heat map of AUROC, one row per detector and one column per generator."""
    rows = {name: _rows(judgement, "generator").set_index("name")["auroc"] for name, judgement in judgements.items()}
    return heat_map(pd.DataFrame(rows, dtype=float).T.sort_index(axis=1))


def heat_map(table: pd.DataFrame) -> Figure:
    """AUROC by row and column, each cell with its number; where there is none it stays empty."""
    figure = Figure(figsize=(2.5 + 0.75 * max(table.shape[1], 1), 1.6 + 0.4 * len(table)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table.to_numpy(float), vmin=0.5, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(table)), table.index)
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(table.to_numpy(float)):
        if not np.isnan(value):
            colour = "black" if value > 0.8 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axes, label="AUROC", extend="min")
    return figure


# Name, how it is drawn, and what it shows.
FIGURES: dict[str, tuple[Callable[[Judgements], Figure], str]] = {
    "verdicts": (metric_bars, "AUROC with its 95 % interval; 0.5 is chance."),
    "roc": (roc, "Fakes found against reals called generated, over all thresholds."),
    "pr": (precision_recall, "Precision against the share of fakes found, at the test set's own share of fakes."),
    "reliability": (
        reliability,
        "Share of fakes among images of one score, as scored; honest scores keep to the diagonal.",
    ),
    "calibrated": (calibrated, "The same after calibration on the validation images."),
    "generators": (generators, "AUROC of each generator's fakes against all reals."),
    "sources": (sources, "Share of each source's reals called generated at 0.5, with its 95 % interval."),
    "views": (views, "AUROC in each view with its 95 % interval: what delivery costs."),
}


def has_data(name: str, judgements: Judgements) -> bool:
    """Whether the figure has anything to show: parts to set side by side, or curves."""
    details = pd.concat([judgement.details for judgement in judgements.values()])
    if name == "views":
        return details["view"].nunique() > 1
    if name == "calibrated":
        return any(len(judgement.curves[name]) for judgement in judgements.values())
    if name in ("generators", "sources"):
        return bool((details["kind"] == name.removesuffix("s")).any())
    return bool(details["auroc"].notna().any())


def _rows(judgement: EvaluationResult, kind: str) -> pd.DataFrame:
    table = judgement.details
    return table[(table["kind"] == kind) & (table["view"] == judgement.view)]


def _severity(view: str, first: set[str]) -> tuple:
    """The headline first, then by name; among numbers, stronger blur and lower quality or size come later."""
    letters = view.rstrip("0123456789")
    number = int(view[len(letters) :] or 0)
    return view not in first, letters, number if letters == "blur" else -number


def _reliability(judgements: Judgements, curve: str, metric: str) -> Figure:
    axes = _unit_axes("mean score in bin", "share generated in bin")
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    _curves(axes, non_controls(judgements), curve, ("score", "share"), metric, "upper left", marker="o", markersize=4)
    return axes.figure


def _unit_axes(x: str, y: str) -> Axes:
    axes = Figure(figsize=(5.2, 5.2), layout="constrained").subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _curves(
    axes: Axes, judgements: Judgements, curve: str, columns: tuple[str, str], metric: str, place: str, **style: object
) -> None:
    for number, (name, judgement) in enumerate(judgements.items()):
        points = judgement.curves[curve]
        if len(points) and metric in judgement.metrics:
            label = f"{judgement.metrics[metric]:.3f}  {name}"
            axes.plot(*points[list(columns)].to_numpy().T, label=label, clip_on=False, **_colour(number, name), **style)
    num = len(axes.get_legend_handles_labels()[0])
    if num:
        title = {"auroc": "AUROC", "ap": "AP", "ece": "ECE", "ece_calibrated": "ECE"}[metric]
        where = {"loc": place} if num <= MAX_LEGEND_INSIDE else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axes.legend(title=title, frameon=False, fontsize=8, title_fontsize=8, **where)
        if num > MAX_LEGEND_INSIDE:
            axes.figure.set_size_inches(7.2, 5.2)


def _intervals(tables: Mapping[str, pd.DataFrame], metric: str, label: str) -> Figure:
    """Dots with whiskers: parts from top to bottom, within each the detectors in their colours."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table["name"]))
    figure = Figure(figsize=(6.4, 1.2 + (0.16 * len(tables) + 0.2) * max(len(names), 1)), layout="constrained")
    axes = figure.subplots()
    step = 0.8 / max(len(tables), 1)
    for number, (detector, table) in enumerate(tables.items()):
        table = table[table[metric].notna()]
        place = [names.index(name) - 0.4 + step * (number + 0.5) for name in table["name"]]
        low, high = (table[f"{metric}{end}"].fillna(table[metric]) for end in ("_low", "_high"))
        colour = _colour(number, detector)["color"]
        axes.hlines(place, low, high, color=colour, linewidth=1.5)
        axes.plot(table[metric], place, "o", color=colour, markersize=4, label=detector)
    axes.set_yticks(range(len(names)), ["" if name == "all" else name for name in names])
    axes.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="x", color="0.9")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def _colour(number: int, detector: str) -> dict[str, object]:
    """The palette without its grey, then the same broken; controls are grey, each in a pattern of its own."""
    if detector in CONTROLS:
        pattern = ("-", "--", ":", "-.")[CONTROLS.index(detector)]
        return {"color": "0.55", "linestyle": pattern, "linewidth": 1.2}
    turn, place = divmod(number, len(PALETTE))
    return {"color": PALETTE[place], "linestyle": ("-", "--", ":")[turn % 3], "linewidth": 1.6}
