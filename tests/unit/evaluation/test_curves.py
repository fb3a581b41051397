"""Thinned curves against the full ones."""

import numpy as np
import pytest
from sklearn import metrics as sk

from aigid.metrics import classification
from aigid.metrics.classification import rank


@pytest.mark.parametrize("num", [10, 400, 30_000])
@pytest.mark.parametrize("decimals", [1, 15])
def test_roc_is_the_full_one_to_the_eye(num: int, decimals: int) -> None:
    rng = np.random.default_rng(num)
    labels = np.arange(num) % 2
    scores = (rng.random(num) * 0.7 + 0.3 * labels).round(decimals)
    drawn = classification.roc(rank(labels, scores))
    fpr, tpr, _ = sk.roc_curve(labels, scores)
    assert len(drawn) <= classification.POINTS
    assert drawn.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert set(zip(drawn["fpr"], drawn["tpr"], strict=True)) <= set(zip(fpr, tpr, strict=True)) | {(0, 0)}
    assert np.trapezoid(drawn["tpr"], drawn["fpr"]) == pytest.approx(sk.roc_auc_score(labels, scores), abs=0.002)


def test_precision_recall_keeps_the_points_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 300), rng.random(300).round(2)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    full = {(round(r, 12), round(p, 12)) for r, p in zip(recall, precision, strict=True)}
    drawn = classification.precision_recall(rank(labels, scores))
    assert drawn.iloc[0].tolist() == [0, drawn["precision"][1]]
    assert {(round(r, 12), round(p, 12)) for r, p in drawn.to_numpy()[1:]} <= full
    assert drawn["recall"].is_monotonic_increasing


def test_straight_runs_go_and_corners_stay() -> None:
    x, y = np.array([0, 0.25, 0.5, 0.5, 1]), np.array([0, 0.5, 1, 1, 1])
    assert [(x[k], y[k]) for k in classification.thin(x, y, 500)] == [(0, 0), (0.5, 1), (1, 1)]
