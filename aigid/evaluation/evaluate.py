"""Evaluate the scores of one detector on one dataset: metrics, breakdown, curves, worst errors and warnings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN, default_view
from aigid.evaluation import breakdown
from aigid.metrics import calibration, classification, decisions, intervals, summary
from aigid.metrics.classification import Floats, Ranking, rank_rows
from aigid.metrics.decisions import DecisionRule, EvaluationSettings

POINTS = 500
NUM_WORST = 8  # images a class


def roc(ranking: Ranking, points: int = POINTS) -> pd.DataFrame:
    """Return columns ``fpr, tpr`` from (0, 0) to (1, 1), at most ``points`` rows."""
    fpr = np.concatenate([[0.0], ranking.fp / len(ranking.reals)])
    tpr = np.concatenate([[0.0], ranking.tp / len(ranking.fakes)])
    index = thin(fpr, tpr, points)
    return pd.DataFrame({"fpr": fpr[index], "tpr": tpr[index]})


def precision_recall(ranking: Ranking, points: int = POINTS) -> pd.DataFrame:
    """Return columns ``recall, precision``, recall ascending from 0, at most ``points`` rows."""
    recall = np.concatenate([[0.0], ranking.tp / len(ranking.fakes)])
    precision = ranking.tp / (ranking.tp + ranking.fp)
    precision = np.concatenate([precision[:1], precision])
    index = thin(recall, precision, points)
    return pd.DataFrame({"recall": recall[index], "precision": precision[index]})


def thin(x: Floats, y: Floats, points: int) -> NDArray[np.int64]:
    """Return the indices of a curve's points (K,) to plot: first and last, corners, and then evenly by length.

    Points inside a straight run change nothing and go first. If more than ``points`` corners remain, those nearest to
    equal steps of the curve's length |dx| + |dy| stay, so that the plotted line moves by at most one step.
    """
    moved = np.flatnonzero(np.concatenate([[True], (np.diff(x) != 0) | (np.diff(y) != 0)]))
    dx, dy = np.diff(x[moved]), np.diff(y[moved])
    bends = np.abs(dx[1:] * dy[:-1] - dx[:-1] * dy[1:]) > 1e-15
    corners = moved[np.concatenate([[True], bends, [True]])] if len(moved) > 1 else moved
    if len(corners) <= points:
        return corners
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x[corners])) + np.abs(np.diff(y[corners])))])
    steps = np.linspace(0, length[-1], points)
    return np.asarray(corners[np.unique(np.searchsorted(length, steps).clip(max=len(corners) - 1))])


@dataclass(frozen=True)
class EvaluationResult:
    """The results of one detector on one dataset.

    ``metrics`` holds the flat keys that could be computed, ``missing_metrics`` the others with their reasons;
    ``details`` is the table of ``breakdown_table``; ``curves`` holds ``roc``, ``pr`` and ``reliability`` of the
    headline ``view``; ``worst_errors`` lists its most wrongly scored images, ``path, label, generator, score``.
    ``deployment`` is None without validation rows of both classes. ``run_info`` describes inputs and settings, for the
    report.
    """

    metrics: dict[str, float]
    missing_metrics: dict[str, str]
    warnings: list[str]
    view: str
    details: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    worst_errors: pd.DataFrame
    deployment: DecisionRule | None = None
    run_info: dict[str, str] = field(default_factory=dict)


def evaluate(
    scores: pd.DataFrame,
    seed: int = 0,
    n_bootstrap: int = intervals.N_BOOTSTRAP,
    strata: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
) -> EvaluationResult:
    """Evaluate the test rows of a checked scores file; its validation rows only fit thresholds and calibrators.

    The headline is the view ``clean``, or the only view there is. A file with several views and no ``clean`` has no
    headline: its metrics are missing, but for those over the views. ``n_bootstrap`` = 0 leaves the bootstrap out, and
    very many rows get fewer draws (``intervals.limit_draws``); ``strata`` names columns to break the scores down by,
    beyond generator and source.
    """
    test = scores[scores["split"] == "test"]
    if test.empty:
        raise InputError(f"no rows of split 'test' to judge; found {', '.join(sorted(set(scores['split'])))}")
    view, settings = default_view(test), settings or EvaluationSettings()
    images = test[test["view"] == view]
    validation = scores[(scores["split"] == "val") & (scores["view"] == view)]
    ranking, val_ranking = rank_rows(images), rank_rows(validation)
    thresholds = {"05": 0.5, "val": _oracle(val_ranking, "validation"), "oracle": _oracle(ranking, "test")}
    n_bootstrap = intervals.limit_draws(n_bootstrap, max(test["view"].value_counts()))
    details = breakdown.breakdown_table(test, _numbers(thresholds), seed, n_bootstrap, strata)
    values = summary.threshold_free_metrics(ranking) | summary.worst_group_metrics(details, view)
    for name, threshold in thresholds.items():
        values |= summary.threshold_metrics(ranking, threshold, name)
    values |= decisions.flip_rates(test, 0.5)
    values |= {"threshold_val": thresholds["val"], "threshold_oracle": thresholds["oracle"]}
    rule = decisions.fit_decision_rule(validation, settings) if val_ranking.has_both else None
    no_rule = dict.fromkeys(decisions.JSON_KEYS, str(thresholds["val"]))
    values |= decisions.deployment_metrics(rule, ranking) if rule else no_rule
    if view:
        values |= {"num_real": len(ranking.reals), "num_fake": len(ranking.fakes)}
    values["num_unreadable"] = int(test.loc[test["score"].isna(), "path"].nunique())
    return EvaluationResult(
        metrics=_numbers(values),
        missing_metrics={name: value for name, value in values.items() if isinstance(value, str)},
        warnings=list(_warnings(test, view, ranking)),
        view=view,
        details=details,
        curves=_curves(ranking, rule),
        worst_errors=_worst_errors(images),
        deployment=rule,
        run_info={"bootstrap draws": str(n_bootstrap), "seed": str(seed)},
    )


def _numbers(values: summary.MetricValues) -> dict[str, float]:
    return {name: value for name, value in values.items() if not isinstance(value, str)}


def _oracle(ranking: Ranking, context: str) -> summary.MetricValue:
    return summary.missing_reason(ranking, summary.BOTH, context) or classification.max_accuracy_threshold(ranking)


def _curves(ranking: Ranking, rule: DecisionRule | None) -> dict[str, pd.DataFrame]:
    """Return ROC, precision-recall, reliability before and after calibration; without rows where there is none."""
    both, width = ranking.has_both, calibration.equal_width()
    reliability = calibration.reliability_curve(ranking, width)
    return {
        "roc": roc(ranking) if both else pd.DataFrame(columns=["fpr", "tpr"]),
        "pr": precision_recall(ranking) if both else pd.DataFrame(columns=["recall", "precision"]),
        "reliability": reliability,
        "calibrated": calibration.reliability_curve(decisions.calibrated(rule, ranking), width)
        if rule
        else reliability[:0],
    }


def _worst_errors(images: pd.DataFrame) -> pd.DataFrame:
    """Return the reals that score highest and the fakes that score lowest, those on the wrong side of 0.5 only."""
    table = images.loc[images["score"].notna(), ["path", "label", "generator", "score"]]
    table = table.assign(error=(table["score"] - table["label"]).abs())
    table = table[table["error"] > 0.5].sort_values(["error", "path"], ascending=[False, True])
    return table.groupby("label").head(NUM_WORST).drop(columns="error").reset_index(drop=True)


def _warnings(test: pd.DataFrame, view: str, ranking: Ranking) -> Iterator[str]:
    views = sorted(test["view"].unique())
    if not view:
        yield f"no view 'clean' among {', '.join(views)}: there is no headline"
    elif view != CLEAN:
        yield f"no view 'clean': the headline is view {view!r}"
    images = {name: frozenset(part) for name, part in test.groupby("view")["path"]}
    if odd := [name for name in views if view and images[name] != images[view]]:
        yield f"other images than in view {view!r}: {', '.join(odd)}; their drop is not like for like"
    if num := int(test["score"].isna().sum()):
        yield f"{num} of {len(test)} test rows are images that could not be read; they are left out"
    if ranking.has_both and ranking.reals[0] == ranking.fakes[0] and len(ranking.thresholds) == 1:
        yield f"every image scores {ranking.reals[0]:g}: the detector says nothing"
    if 0 < len(ranking.reals) < 100:
        yield f"{len(ranking.reals)} reals: TPR at 1 % FPR allows no false alarm at all"
