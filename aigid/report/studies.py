"""Sections of a report beside its datasets: by role, over time, generators across each other, pairs, perturbations."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from aigid.core import escape, seeding, tables
from aigid.core.errors import InputError
from aigid.core.manifest import ROLES
from aigid.core.params import Settings
from aigid.core.scores import CLEAN
from aigid.evaluation import attribution, breakdown
from aigid.evaluation.comparison import Results, non_controls
from aigid.evaluation.evaluate import Section
from aigid.evaluation.over_time import KIND, LEVEL
from aigid.metrics.intervals import Interval
from aigid.report.figures import color
from aigid.report.summary_tables import NONE

ROLE_ORDER = ("", *ROLES)
ROLES_TITLE = "Datasets by role"
ROLES_INTRO = "Nothing may learn from a dataset with a role; each counts as much as another."


def role_of(results: Results) -> str:
    """Return the role of a dataset: "" of one that may be learnt from."""
    return next((result.run_info["role"] for result in results.values() if "role" in result.run_info), "")


def by_role(datasets: Mapping[str, Results]) -> pd.DataFrame:
    """Return one row per role: its datasets, and the mean AUROC of each detector; none where no dataset has a role."""
    rows: list[dict[str, str]] = []
    for role in ROLE_ORDER:
        members = {name: results for name, results in datasets.items() if role_of(results) == role}
        values: dict[str, list[float]] = {}
        for results in members.values():
            for detector, result in non_controls(results).items():
                values.setdefault(detector, []).append(result.metrics.get("auroc", math.nan))
        means = {detector: f"{sum(part) / len(part):.3f}" for detector, part in values.items()}
        rows += [{"role": role or "none", "datasets": ", ".join(members), **means}] if members else []
    known = any(row["role"] != "none" for row in rows)
    return pd.DataFrame(rows if known else []).fillna(NONE).replace("nan", NONE)


def roles_section(datasets: Mapping[str, Results]) -> dict[str, Section]:
    """Return the table of roles as a section, where a dataset has one."""
    table = by_role(datasets)
    return {ROLES_TITLE: Section(ROLES_INTRO, {"Mean AUROC": table})} if len(table) else {}


OVER_TIME_NOTES = (
    "Test images in batches by their date. A change is a batch from which a metric is another: the split at which the "
    "means before and after differ most (CUSUM, binary segmentation), where a permutation test of whole groups among "
    f"batches says so; of detectors that stay as they were, at most {LEVEL:.0%} have any. FPR is that at the operating "
    "point, without validation images at 0.5."
)
OVER_TIME_METRICS = {"auroc": "AUROC", "fpr": "FPR", "ece": "calibration error (ECE)"}
OVER_TIME_CAPTION = "Bands are 95 % intervals, dashed lines changes."


def over_time_sections(datasets: Mapping[str, Results]) -> dict[str, Section]:
    """Return a section for each dataset whose images have dates."""
    by_title = {}
    for dataset, results in datasets.items():
        dated = {name: result for name, result in non_controls(results).items() if result.changes is not None}
        if dated:
            changes = {"Changes": _changes(dated)} if any(result.changes for result in dated.values()) else {}
            by_title[f"Over time: {dataset}"] = Section(
                OVER_TIME_NOTES, changes, {OVER_TIME_CAPTION: plot_over_time(dated)}
            )
    return by_title


def _changes(results: Results) -> pd.DataFrame:
    rows = [
        {"detector": name, "metric": OVER_TIME_METRICS[str(change["metric"])], "since": change["date"]}
        | {column: f"{change[column]:.3f}" for column in ("before", "after", "p")}
        for name, result in results.items()
        for change in result.changes or ()
    ]
    return pd.DataFrame(rows)


def plot_over_time(results: Results) -> Figure:
    """Plot a row a metric and a line a detector over the batches."""
    names = sorted({name for result in results.values() for name in result.parts(KIND)["name"]})
    figure = Figure(figsize=(min(3 + 0.45 * len(names), 14), 7), layout="constrained")
    for axes, (metric, title) in zip(
        figure.subplots(len(OVER_TIME_METRICS), 1, sharex=True), OVER_TIME_METRICS.items(), strict=True
    ):
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


# NYCU's kinds of perturbation: the views of each and their strengths, the first being the image as it is.
SWEEPS: dict[str, tuple[str, dict[str, float]]] = {
    "noise": ("deviation", {CLEAN: 0, "noise05": 0.05, "noise10": 0.1, "noise20": 0.2, "noise30": 0.3}),
    "jpeg": ("quality", {CLEAN: 100, "jpeg90": 90, "jpeg70": 70, "jpeg50": 50, "jpeg30": 30}),
    "brightness": ("share kept", {CLEAN: 1, "dark80": 0.8, "dark60": 0.6, "dark40": 0.4, "dark20": 0.2}),
    "blur": ("sigma in px", {CLEAN: 0, "blur5x5_1": 1, "blur5x5_2": 2, "blur5x5_3": 3}),
    "crop": ("share of the side", {CLEAN: 1, "crop90": 0.9, "crop80": 0.8, "crop60": 0.6}),
}
VIEWS = tuple(dict.fromkeys(view for _, strengths in SWEEPS.values() for view in strengths))
METRICS = {"auroc": "AUROC, real or generated", "f1_macro": "macro-F1, which generator"}
INTERVAL_SUFFIXES = ("", "_low", "_high")
N_BOOTSTRAP = 200
HONEST, PUBLISHED = "cnn", "cnn, clean side channels"

# The columns of the studies' tables: text, then numbers.
CROSS_GENERATOR = ("trained_on", "tested_on"), ("seen", "auroc", "low", "high")
ALIGNED = ("method", "tested_on"), ("auroc", "low", "high")
PERTURBATION = ("detector", "view"), tuple(f"{metric}{end}" for metric in METRICS for end in INTERVAL_SUFFIXES)

CROSS_GENERATOR_NOTES = (
    "AUROC on each test generator's fakes against all test reals, by the generators whose fakes were in training (the "
    "reals are always the same). An asterisk marks a generator that was not in training."
)
ALIGNED_NOTES = (
    "AUROC of SEF, whose row is gate, and of its parts on test photographs and their aligned fakes, which no training "
    "saw, and on the generators of the dataset that was aligned, none of whose fakes any of them learned from."
)
PERTURBATION_NOTES = (
    "A sample of test images under ever stronger perturbation. The published code gives the network the error and the "
    f"spectrum of the unperturbed image, which nobody has in use: {PUBLISHED!r} is the same network with that shortcut."
)


def read(path: Path | str, columns: tuple[tuple[str, ...], tuple[str, ...]]) -> pd.DataFrame:
    """Return the table that a study's stage wrote, ``columns`` being text and numbers; numbers as float64."""
    text, numbers = columns
    return tables.to_numeric(tables.read(path, text + numbers), numbers, path)


def _format(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def cross_generator_section(table: pd.DataFrame) -> Section:
    """Return AUROC with its interval, trained on (rows) and tested on (columns), and the mean of unseen generators."""
    shape = {"index": "trained_on", "columns": "tested_on"}
    order = list(dict.fromkeys(table["trained_on"]))
    cells = [
        f"{Interval(value, low, high)}{'' if seen else ' *'}"
        for value, low, high, seen in table[["auroc", "low", "high", "seen"]].to_numpy()
    ]
    rows = table.assign(cell=cells).pivot(**shape, values="cell").loc[order]
    unseen = table["auroc"].where(table["seen"] == 0).groupby(table["trained_on"]).mean()[order]
    rows["mean of unseen *"] = unseen.map(_format)
    rows = rows.rename_axis("trained on").rename_axis(None, axis=1).reset_index()
    return Section(CROSS_GENERATOR_NOTES, {"AUROC": rows})


def aligned_section(table: pd.DataFrame) -> Section:
    """Return SEF's comparison, a row a method and a column a test set, with intervals."""
    cells = [str(Interval(*row)) for row in table[["auroc", "low", "high"]].to_numpy()]
    rows = table.assign(cell=cells).pivot(index="method", columns="tested_on", values="cell")
    rows = rows.loc[table["method"].unique(), table["tested_on"].unique()].rename_axis(None, axis=1).reset_index()
    return Section(ALIGNED_NOTES, {"AUROC": rows})


class PerturbationSettings(Settings):
    """The test images of the perturbation study; they are few, as every view is computed for each."""

    dataset: str
    max_images: int = Field(ge=1)  # images of each generator, and of the reals


def sample(manifest: pd.DataFrame, settings: PerturbationSettings, seed: int) -> pd.DataFrame:
    """Return at most ``settings.max_images`` test images of each generator, in the manifest's order."""
    test = manifest[manifest["split"] == "test"]
    if test["label"].nunique() < 2:
        raise InputError(f"perturbation.dataset={settings.dataset!r}: its test split lacks reals or fakes")
    order = seeding.numpy_generator("perturbation", seed).permutation(len(test))
    sampled = test.iloc[order].groupby("generator").head(settings.max_images)
    return sampled.sort_index().reset_index(drop=True)


def perturbation_table(scores: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Return one row a detector and view: ``detector, view``, ``auroc`` and ``f1_macro`` with their intervals.

    ``scores`` holds the scores file's rows of each detector; a number that cannot be computed is NaN.
    """
    rows = []
    for name, table in scores.items():
        details = breakdown.breakdown_table(table, {"05": 0.5}, seed, N_BOOTSTRAP)
        pooled = details.query("kind == 'all'").set_index("view")
        for view in VIEWS:
            metrics = attribution.attribute(table, view, seed).metrics
            numbers = [pooled.loc[view, f"auroc{end}"] for end in INTERVAL_SUFFIXES]
            numbers += [metrics.get(f"attribution_f1_macro{end}", np.nan) for end in INTERVAL_SUFFIXES]
            rows.append([name, view, *numbers])
    return pd.DataFrame(rows, columns=[column for kind in PERTURBATION for column in kind])


def plot(table: pd.DataFrame) -> Figure:
    """Plot a column a kind of perturbation, a row a metric; bands are 95 % intervals."""
    figure = Figure(figsize=(3 * len(SWEEPS), 6), layout="constrained")
    grid = figure.subplots(len(METRICS), len(SWEEPS), sharey="row")
    for row, (metric, label) in zip(grid, METRICS.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, (kind, (unit, strengths)) in zip(row, SWEEPS.items(), strict=True):
            for detector, part in table.groupby("detector", sort=False):
                points = part.set_index("view").loc[list(strengths)]
                x = list(strengths.values())
                axes.plot(x, points[metric], marker="o", markersize=3, label=detector)
                axes.fill_between(x, points[f"{metric}_low"], points[f"{metric}_high"], alpha=0.15)
            axes.set(xlabel=f"{kind}: {unit}")
            if x[0] > x[-1]:  # the stronger, the further right
                axes.invert_xaxis()
            axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def perturbation_section(table: pd.DataFrame) -> Section:
    """Return curves, macro-F1 and AUROC of every view, and what the shortcut gains."""
    rows = {}
    for metric, label in METRICS.items():
        wide = table.pivot(index="view", columns="detector", values=metric).loc[list(VIEWS), table["detector"].unique()]
        if {HONEST, PUBLISHED} <= set(wide):
            wide["the shortcut flatters by"] = wide[PUBLISHED] - wide[HONEST]
        rows[label] = wide.map(_format).reset_index()
    caption = "Sweeps of noise, JPEG, brightness, blur and crop; bands are 95 % intervals."
    return Section(PERTURBATION_NOTES, rows, {caption: plot(table)})
