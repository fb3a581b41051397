"""Metrics over time as a section of a report: curves with intervals, and the changes."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from aigid.core import escape
from aigid.evaluation.comparison import Results, non_controls
from aigid.evaluation.evaluate import Section
from aigid.evaluation.over_time import KIND, LEVEL
from aigid.report.figures import color

NOTES = (
    "Test images in batches by their date. A change is a batch from which a metric is another: the split at which the "
    "means before and after differ most (CUSUM, binary segmentation), where a permutation test of whole groups among "
    f"batches says so; of detectors that stay as they were, at most {LEVEL:.0%} have any. FPR is that at the operating "
    "point, without validation images at 0.5."
)
METRICS = {"auroc": "AUROC", "fpr": "FPR", "ece": "calibration error (ECE)"}
CAPTION = "Bands are 95 % intervals, dashed lines changes."


def sections(datasets: Mapping[str, Results]) -> dict[str, Section]:
    """Return a section for each dataset whose images have dates."""
    by_title = {}
    for dataset, results in datasets.items():
        dated = {name: result for name, result in non_controls(results).items() if result.changes is not None}
        if dated:
            changes = {"Changes": _changes(dated)} if any(result.changes for result in dated.values()) else {}
            by_title[f"Over time: {dataset}"] = Section(NOTES, changes, {CAPTION: plot(dated)})
    return by_title


def _changes(results: Results) -> pd.DataFrame:
    rows = [
        {"detector": name, "metric": METRICS[str(change["metric"])], "since": change["date"]}
        | {column: f"{change[column]:.3f}" for column in ("before", "after", "p")}
        for name, result in results.items()
        for change in result.changes or ()
    ]
    return pd.DataFrame(rows)


def plot(results: Results) -> Figure:
    """Plot a row a metric and a line a detector over the batches."""
    names = sorted({name for result in results.values() for name in result.parts(KIND)["name"]})
    figure = Figure(figsize=(min(3 + 0.45 * len(names), 14), 7), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(len(METRICS), 1, sharex=True), METRICS.items(), strict=True):
        for number, (detector, result) in enumerate(results.items()):
            rows, style = result.parts(KIND).set_index("name").reindex(names), color(number, detector)
            column = metric if metric != "fpr" else "fpr_05" if rows["fpr_operating"].isna().all() else "fpr_operating"
            axes.plot(range(len(names)), rows[column], marker="o", markersize=3, label=escape.figure(detector), **style)
            bounds = rows[f"{column}_low"], rows[f"{column}_high"]
            axes.fill_between(range(len(names)), *bounds, color=style["color"], alpha=0.15)
            for change in result.changes or ():
                if change["metric"] == metric:
                    axes.axvline(names.index(change["date"]) - 0.5, color=style["color"], linestyle="--", linewidth=1)
        axes.set_ylabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure
