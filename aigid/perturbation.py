"""How detectors that name the generator bear perturbation: one sweep of views a kind, curves with intervals."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from aigid import seeding
from aigid.detectors.scoring import attributed_frame
from aigid.evaluation import attribution, breakdown
from aigid.params import Settings

# NYCU's kinds: the views of each and their strengths, the first being the image as it is.
SWEEPS: dict[str, tuple[str, dict[str, float]]] = {
    "noise": ("deviation", {"clean": 0, "noise05": 0.05, "noise10": 0.1, "noise20": 0.2, "noise30": 0.3}),
    "jpeg": ("quality", {"clean": 100, "jpeg90": 90, "jpeg70": 70, "jpeg50": 50, "jpeg30": 30}),
    "blur": ("sigma in px", {"clean": 0, "blur5x5_1": 1, "blur5x5_2": 2, "blur5x5_3": 3}),
    "crop": ("share of the side", {"clean": 1, "crop90": 0.9, "crop80": 0.8, "crop60": 0.6}),
}
VIEWS = tuple(dict.fromkeys(view for _, strengths in SWEEPS.values() for view in strengths))
METRICS = {"auroc": "AUROC, real or generated", "f1_macro": "macro-F1, which generator"}

# A view's class probabilities (n, K) of the readable images, and the status of every one.
Predict = Callable[[str], tuple[np.ndarray, np.ndarray]]


class PerturbationSettings(Settings):
    """On which test images; they are few, as every view is computed for each."""

    dataset: str
    sample: int = Field(ge=1)  # images of each class


def sample(manifest: pd.DataFrame, settings: PerturbationSettings, seed: int) -> pd.DataFrame:
    """At most ``settings.sample`` test images of each generator, in the manifest's order."""
    test = manifest[manifest["split"] == "test"]
    order = seeding.generator("perturbation", seed).permutation(len(test))
    kept = test.iloc[order].groupby("generator").head(settings.sample)
    return kept.sort_index().reset_index(drop=True)


def study(images: pd.DataFrame, detectors: Mapping[str, tuple[list[str], Predict]], seed: int) -> pd.DataFrame:
    """One row a detector and view: ``detector, view``, ``auroc`` and ``f1_macro`` with their intervals."""
    rows = []
    for name, (classes, predict) in detectors.items():
        for view in VIEWS:
            probabilities, status = predict(view)
            found = np.full((len(images), len(classes)), np.nan)
            found[status == "ok"] = probabilities
            rows.append({"detector": name, "view": view} | _measure(images, view, found, classes, status, seed))
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
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
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


def _measure(
    images: pd.DataFrame, view: str, found: np.ndarray, classes: list[str], status: np.ndarray, seed: int
) -> dict[str, float]:
    scores = attributed_frame(images, view, found, classes, status)
    pooled = breakdown.tabulate(scores, {"05": 0.5}, seed, 200).query("kind == 'all'").iloc[0]
    named = attribution.attribute(scores, view, seed).metrics
    ends = ("", "_low", "_high")
    return {f"auroc{end}": pooled[f"auroc{end}"] for end in ends} | {
        f"f1_macro{end}": named.get(f"attribution_f1_macro{end}", np.nan) for end in ends
    }
