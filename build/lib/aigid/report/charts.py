"""Charts of a report's page: where curves, dots and labels lie, in px; the template draws them as SVG."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from aigid.evaluation.comparison import CONTROLS, Results, non_controls
from aigid.metrics.classification import Floats
from aigid.report.summary_tables import with_interval

SIDE, LEFT, TOP, BELOW, LEGEND = 320, 48, 10, 44, 190  # of the square of curves and what stands around it
ROW = 18  # height of a line of text
NUM_COLORS = 9  # classes c0 ... of the page, the controls' grey apart
TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)
HONEST = "honest scores keep to the diagonal"


class Tick(NamedTuple):
    """A grid line and its label."""

    position: float
    label: str


class Series(NamedTuple):
    """What a chart shows of a detector.

    ``style`` is the class of its color and dashes, ``points`` an SVG polyline, ``dots`` are x, y and text of markers,
    ``legend`` is the place of its name, whose baseline is that of ``label``.
    """

    detector: str
    style: str
    label: str
    points: str
    dots: list[tuple[float, float, str]]
    legend: tuple[float, float]


class Chart(NamedTuple):
    """A drawing of ``width`` x ``height`` px whose axes span ``plot`` (width, height)."""

    caption: str
    width: float
    height: float
    plot: tuple[float, float]
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    diagonal: bool
    title: str  # above the legend
    series: list[Series]


def verdicts(results: Results) -> Chart:
    """Return AUROC of every detector in the headline view, a row each, with its interval."""
    left, width, series = LEGEND, SIDE, []
    rows = {name: part.iloc[0] for name, result in results.items() if len(part := result.parts("all"))}
    lows = [row[key] for row in rows.values() for key in ("auroc", "auroc_low") if not pd.isna(row[key])]
    first = min(0.4, np.floor(10 * min(lows, default=0.5)) / 10)

    def position(value: float) -> float:
        return round(left + width * (value - first) / (1 - first), 1)

    for number, (name, row) in enumerate((name, row) for name, row in rows.items() if not pd.isna(row["auroc"])):
        y, ends = TOP + ROW * (number + 0.5), [row[key] for key in ("auroc_low", "auroc_high")]
        line = "" if pd.isna(ends[0]) else " ".join(f"{position(end)},{y:g}" for end in ends)
        text = with_interval(row, "auroc")
        series.append(Series(name, _style(number, name), "", line, [(position(row["auroc"]), y, text)], (6, y + 4)))
    ticks = [Tick(position(tick), f"{tick:g}") for tick in np.arange(round(10 * first), 11) / 10]
    height = ROW * max(len(series), 1)
    caption = "AUROC with its 95 % interval; 0.5 is chance."
    plot = (width, height)
    return Chart(caption, left + width + 16, height + TOP + BELOW, plot, "AUROC", "", ticks, [], False, "", series)


def _curves(
    caption: str,
    curve: str,
    columns: tuple[str, str],
    metric: str,
    labels: tuple[str, str, str],
    controls: bool = False,
) -> Callable[[Results], Chart]:
    """Return what draws a curve of every detector in the unit square, with the metric of each in the legend.

    ``labels`` are those of x, y and the legend. Scores in bins have markers and a diagonal, ROC has the diagonal alone.
    """

    def chart(results: Results) -> Chart:
        series: list[Series] = []
        for number, (name, result) in enumerate((results if controls else non_controls(results)).items()):
            table = result.curves[curve]
            if len(table) and metric in result.metrics:
                x, y = table[list(columns)].to_numpy(float).T
                dots = [] if curve in ("roc", "pr") else _dots(x, y, labels)
                legend = (LEFT + SIDE + 14, TOP + 14 + ROW * (len(series) + 1))
                label = f"{result.metrics[metric]:.3f}"
                series.append(Series(name, _style(number, name), label, _polyline(x, y), dots, legend))
        height = max(TOP + SIDE + BELOW, TOP + ROW * (len(series) + 2))
        x_ticks = [Tick(LEFT + SIDE * tick, f"{tick:g}") for tick in TICKS]
        y_ticks = [Tick(TOP + SIDE * (1 - tick), f"{tick:g}") for tick in TICKS]
        size, (x_label, y_label, title) = (LEFT + SIDE + LEGEND, height), labels
        return Chart(caption, *size, (SIDE, SIDE), x_label, y_label, x_ticks, y_ticks, curve != "pr", title, series)

    return chart


_BINS = ("mean score in bin", "share generated in bin", "ECE")
CHARTS: Sequence[Callable[[Results], Chart]] = (
    verdicts,
    _curves(
        "Fakes found against reals called generated, over all thresholds.",
        *("roc", ("fpr", "tpr"), "auroc", ("reals called generated (FPR)", "fakes found (TPR)", "AUROC"), True),
    ),
    _curves(
        "Precision against the share of fakes found, at the test set's own share of fakes.",
        *("pr", ("recall", "precision"), "ap", ("fakes found (recall)", "precision", "AP")),
    ),
    _curves(
        f"Share of fakes among images of one score, as scored; {HONEST}.",
        *("reliability", ("score", "share"), "ece", _BINS),
    ),
    _curves(
        "The same after calibration on the validation images.",
        *("calibrated", ("score", "share"), "ece_calibrated", _BINS),
    ),
)


def charts(results: Results) -> list[Chart]:
    """Return the charts of a dataset that have anything to show."""
    return [chart for make in CHARTS if (chart := make(results)).series]


def _dots(x: Floats, y: Floats, labels: tuple[str, str, str]) -> list[tuple[float, float, str]]:
    positions = zip(*_pixels(x, y), x, y, strict=True)
    return [(px, py, f"{labels[0]} {score:.3f}, {labels[1]} {share:.3f}") for px, py, score, share in positions]


def _pixels(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    return np.rint(LEFT + SIDE * x).tolist(), np.rint(TOP + SIDE * (1 - y)).tolist()


def _polyline(x: Floats, y: Floats) -> str:
    """Return the points of a curve in whole px, without those on a line between their neighbours."""
    points = np.array(_pixels(x, y)).T
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    steps = np.diff(points, axis=0)
    turns = steps[:-1, 0] * steps[1:, 1] != steps[:-1, 1] * steps[1:, 0]
    return " ".join(f"{px:.0f},{py:.0f}" for px, py in points[np.r_[True, turns, True][: len(points)]])


def _style(number: int, detector: str) -> str:
    """Return the classes of a detector: nine colors, then the same dashed; the controls are grey, each with dashes."""
    if detector in CONTROLS:
        return f"grey dash{CONTROLS.index(detector)}"
    turn, index = divmod(number, NUM_COLORS)
    return f"c{index} dash{turn % 3}"


def heat(cell: object, falling: bool = False) -> str:
    """Return the class of a cell by its first number: h0 at 0.5 to h10 at 1, or ``falling`` from 0.5 to 0; or none.

    AUROC under 0.5 and rates of errors over 0.5 are ``low``.
    """
    try:
        value = float(str(cell).split(" ", 1)[0])
    except ValueError:
        return ""
    value = 1 - value if falling else value
    return "low" if value < 0.5 else f"h{min(int(20 * (value - 0.5) + 0.5), 10)}"
