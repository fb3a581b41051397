"""The ablation of the network's channels as a section of a report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from aigid.core import seeding, tables
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.scores import CLEAN
from aigid.evaluation import attribution, breakdown
from aigid.evaluation.results import Section
from aigid.report.figures import heat_map

ABLATION_COLUMNS = ("network", "val_f1_macro", "auroc", "acc", "f1_macro")
ABLATION_NOTES = (
    "The five-channel network with fewer channels, each trained for the same few epochs from the same seed, on test "
    "images of the generators that training has. One seed: small differences mean nothing."
)


def read_ablation(path: Path | str) -> pd.DataFrame:
    """The table that the stage ``ablate_cnn`` wrote, numbers as float64."""
    return tables.to_numeric(tables.read(path, ABLATION_COLUMNS), ABLATION_COLUMNS[1:], path)


def ablation_section(table: pd.DataFrame) -> Section:
    """One row a set of channels."""
    names = {"network": "channels", "val_f1_macro": "validation F1", "auroc": "AUROC", "f1_macro": "F1"}
    shown = table.assign(**{column: [f"{value:.3f}" for value in table[column]] for column in ABLATION_COLUMNS[1:]})
    return Section(ABLATION_NOTES, {"Channels": shown.rename(columns=names | {"acc": "accuracy"})})


# The cross-generator table as a section of a report: who teaches a detector to see whom.

CROSS_COLUMNS = ("trained_on", "tested_on", "seen", "auroc", "low", "high")
CROSS_NOTES = (
    "AUROC on each test generator's fakes against all test reals, by the generators whose fakes were in training (the "
    "reals are always the same). An asterisk marks a generator that was not in training."
)


def read_cross_generator(path: Path | str) -> pd.DataFrame:
    """The table that the stage ``cross`` wrote, numbers as float64."""
    return tables.to_numeric(tables.read(path, CROSS_COLUMNS), CROSS_COLUMNS[2:], path)


def cross_generator_section(table: pd.DataFrame) -> Section:
    """A heat map, the same numbers with their intervals, and the mean over the generators that were not in training."""
    shape = {"index": "trained_on", "columns": "tested_on"}
    order = list(dict.fromkeys(table["trained_on"]))
    values = table.pivot(**shape, values="auroc").loc[order]
    cells = [
        f"{value:.3f} [{low:.3f}, {high:.3f}]{'' if seen else ' *'}"
        for value, low, high, seen in table[["auroc", "low", "high", "seen"]].to_numpy()
    ]
    shown = table.assign(cell=cells).pivot(**shape, values="cell").loc[order]
    unseen = table["auroc"].where(table["seen"] == 0).groupby(table["trained_on"]).mean()[order]
    shown["mean of unseen *"] = ["-" if np.isnan(value) else f"{value:.3f}" for value in unseen]
    rows = shown.rename_axis("trained on").rename_axis(None, axis=1).reset_index()
    return Section(CROSS_NOTES, {"AUROC": rows}, {"Trained on (rows), tested on (columns).": heat_map(values)})


# How detectors that name the generator bear perturbation: one sweep of views a kind, curves with intervals.

# NYCU's kinds: the views of each and their strengths, the first being the image as it is.
SWEEPS: dict[str, tuple[str, dict[str, float]]] = {
    "noise": ("deviation", {CLEAN: 0, "noise05": 0.05, "noise10": 0.1, "noise20": 0.2, "noise30": 0.3}),
    "jpeg": ("quality", {CLEAN: 100, "jpeg90": 90, "jpeg70": 70, "jpeg50": 50, "jpeg30": 30}),
    "blur": ("sigma in px", {CLEAN: 0, "blur5x5_1": 1, "blur5x5_2": 2, "blur5x5_3": 3}),
    "crop": ("share of the side", {CLEAN: 1, "crop90": 0.9, "crop80": 0.8, "crop60": 0.6}),
}
VIEWS = tuple(dict.fromkeys(view for _, strengths in SWEEPS.values() for view in strengths))
METRICS = {"auroc": "AUROC, real or generated", "f1_macro": "macro-F1, which generator"}
INTERVAL_SUFFIXES = ("", "_low", "_high")
PERTURBATION_COLUMNS = ("detector", "view", *(f"{metric}{end}" for metric in METRICS for end in INTERVAL_SUFFIXES))
DRAWS = 200
HONEST, PUBLISHED = "cnn", "cnn, clean side channels"
PERTURBATION_NOTES = (
    "A sample of test images under ever stronger perturbation. The published code gives the network the error and the "
    f"spectrum of the unperturbed image, which nobody has in use: {PUBLISHED!r} is the same network with that shortcut."
)


class PerturbationSettings(Settings):
    """On which test images; they are few, as every view is computed for each."""

    dataset: str
    max_images: int = Field(ge=1)  # images of each class


def sample(manifest: pd.DataFrame, settings: PerturbationSettings, seed: int) -> pd.DataFrame:
    """At most ``settings.max_images`` test images of each generator, in the manifest's order."""
    test = manifest[manifest["split"] == "test"]
    if test["label"].nunique() < 2:
        raise InputError(f"perturbation.dataset={settings.dataset!r}: its test split lacks reals or fakes")
    order = seeding.numpy_generator("perturbation", seed).permutation(len(test))
    kept = test.iloc[order].groupby("generator").head(settings.max_images)
    return kept.sort_index().reset_index(drop=True)


def perturbation_table(scores: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """One row a detector and view: ``detector, view``, ``auroc`` and ``f1_macro`` with their intervals.

    ``scores`` holds the scores file's rows of each detector; a number that cannot be had is NaN.
    """
    rows = []
    for name, table in scores.items():
        pooled = breakdown.breakdown_table(table, {"05": 0.5}, seed, DRAWS).query("kind == 'all'").set_index("view")
        for view in VIEWS:
            named = attribution.attribute(table, view, seed).metrics
            numbers = [pooled.loc[view, f"auroc{end}"] for end in INTERVAL_SUFFIXES]
            numbers += [named.get(f"attribution_f1_macro{end}", np.nan) for end in INTERVAL_SUFFIXES]
            rows.append([name, view, *numbers])
    return pd.DataFrame(rows, columns=PERTURBATION_COLUMNS)


def read_perturbation(path: Path | str) -> pd.DataFrame:
    """What ``study`` found, as its stage wrote it; numbers as float64."""
    return tables.to_numeric(tables.read(path, PERTURBATION_COLUMNS), PERTURBATION_COLUMNS[2:], path)


def plot(table: pd.DataFrame) -> Figure:
    """A column a kind of perturbation, a row a metric; bands are 95 % intervals."""
    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots(len(METRICS), len(SWEEPS), sharey="row")
    for row, (metric, label) in zip(axes, METRICS.items(), strict=True):
        row[0].set_ylabel(label)
        for place, (kind, (unit, strengths)) in zip(row, SWEEPS.items(), strict=True):
            for detector, part in table.groupby("detector", sort=False):
                points = part.set_index("view").loc[list(strengths)]
                x = list(strengths.values())
                place.plot(x, points[metric], marker="o", markersize=3, label=detector)
                place.fill_between(x, points[f"{metric}_low"], points[f"{metric}_high"], alpha=0.15)
            place.set(xlabel=f"{kind}: {unit}")
            if kind in ("jpeg", "crop"):
                place.invert_xaxis()
            place.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def perturbation_section(table: pd.DataFrame) -> Section:
    """The study as a part of a report: curves, macro-F1 and AUROC of every view, and what the shortcut gains."""
    shown = {}
    for metric, label in METRICS.items():
        wide = table.pivot(index="view", columns="detector", values=metric).loc[list(VIEWS), table["detector"].unique()]
        if {HONEST, PUBLISHED} <= set(wide):
            wide["the shortcut flatters by"] = wide[PUBLISHED] - wide[HONEST]
        shown[label] = wide.map(lambda value: "-" if np.isnan(value) else f"{value:.3f}").reset_index()
    return Section(
        PERTURBATION_NOTES, shown, {"Sweeps of noise, JPEG, blur and crop; bands are 95 % intervals.": plot(table)}
    )
