"""ROC and precision-recall curves as points to draw, few enough to plot and the same to the eye."""

import numpy as np
import pandas as pd

from aigid.evaluation.ranking import Floats, Ranking

POINTS = 500


def roc(ranking: Ranking, points: int = POINTS) -> pd.DataFrame:
    """Columns ``fpr, tpr`` from (0, 0) to (1, 1), at most ``points`` rows."""
    fpr = np.concatenate([[0.0], ranking.fp / len(ranking.reals)])
    tpr = np.concatenate([[0.0], ranking.tp / len(ranking.fakes)])
    kept = thin(fpr, tpr, points)
    return pd.DataFrame({"fpr": fpr[kept], "tpr": tpr[kept]})


def precision_recall(ranking: Ranking, points: int = POINTS) -> pd.DataFrame:
    """Columns ``recall, precision``, recall ascending from 0 with the first precision; at most ``points`` rows."""
    recall = np.concatenate([[0.0], ranking.tp / len(ranking.fakes)])
    precision = ranking.tp / (ranking.tp + ranking.fp)
    precision = np.concatenate([precision[:1], precision])
    kept = thin(recall, precision, points)
    return pd.DataFrame({"recall": recall[kept], "precision": precision[kept]})


def thin(x: Floats, y: Floats, points: int) -> np.ndarray:
    """Which of the points (K,) of a curve to keep, as indices: first and last, corners, and then evenly by length.

    Points inside a straight run change nothing and go first. If more than ``points`` corners remain, those nearest to
    equal steps of the curve's length |dx| + |dy| stay, so that the drawn line moves by at most one step.
    """
    moved = np.flatnonzero(np.concatenate([[True], (np.diff(x) != 0) | (np.diff(y) != 0)]))
    dx, dy = np.diff(x[moved]), np.diff(y[moved])
    bends = np.abs(dx[1:] * dy[:-1] - dx[:-1] * dy[1:]) > 1e-15
    kept = moved[np.concatenate([[True], bends, [True]])] if len(moved) > 1 else moved
    if len(kept) <= points:
        return kept
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x[kept])) + np.abs(np.diff(y[kept])))])
    steps = np.linspace(0, length[-1], points)
    return kept[np.unique(np.searchsorted(length, steps).clip(max=len(kept) - 1))]
