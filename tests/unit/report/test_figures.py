"""Figures stay legible: controls alone are grey, and no legend lies over curves that many detectors share."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from aigid.core import scores
from aigid.evaluation.comparison import CONTROLS
from aigid.evaluation.evaluate import evaluate
from aigid.report import figures

NAMES = ("averaging", "cnn", "concatenation", "gate", "gendet", "knn", "probe", "svm", "occ", "aeroblade", "sef")


@pytest.fixture(scope="module")
def judgements():
    rng, found = np.random.default_rng(0), {}
    for name in (*NAMES, *CONTROLS):
        label = np.arange(80) % 2
        table = pd.DataFrame({"path": [f"{k}.png" for k in range(80)], "label": label})
        table["generator"] = np.where(label == 0, "real", "a")
        table["split"] = np.where(np.arange(80) < 40, "val", "test")
        table["view"], table["score"] = "clean", np.clip(0.3 + 0.4 * label + 0.2 * rng.normal(size=80), 0, 1)
        found[name] = evaluate(scores.validate(table, name), n_bootstrap=0)
    return found


def is_grey(colour):
    return np.ptp(to_rgb(colour)) < 0.02


def test_only_controls_are_grey(judgements):
    axes = figures.roc(judgements).axes[0]
    styles = set()
    for line in axes.get_lines()[1:]:
        name = line.get_label().split("  ")[1]
        assert is_grey(line.get_color()) == (name in CONTROLS), name
        styles.add((to_rgb(line.get_color()), line.get_linestyle()))
    assert len(styles) == len(judgements)


def test_a_legend_of_many_stands_beside_the_axes(judgements):
    for shown, inside in ((judgements, False), ({key: judgements[key] for key in NAMES[:3]}, True)):
        figure = figures.roc(shown)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        legend, frame = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert (legend.x0 < frame.x1) == inside
        assert legend.x1 <= figure.bbox.x1
