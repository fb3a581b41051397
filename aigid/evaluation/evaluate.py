"""ROC and precision-recall curves as points to draw, few enough to plot and the same to the eye."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN, default_view
from aigid.evaluation import breakdown
from aigid.metrics import calibration, classification, intervals, summary
from aigid.metrics.classification import Floats, Ranking, rank_rows
from aigid.metrics.decisions import (
    JSON_KEYS,
    DecisionRule,
    EvaluationSettings,
    calibrated,
    deployment_metrics,
    fit_decision_rule,
    flip_rates,
)

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


# The judge: from the scores of one detector on one dataset to everything that is said about it.

NUM_WORST = 8  # images a class


@dataclass(frozen=True)
class EvaluationResult:
    """What is said about one detector on one dataset.

    ``metrics`` holds the flat keys that could be computed, ``missing_metrics`` the others with their reasons;
    ``details`` is the table of ``breakdown.tabulate``; ``curves`` holds ``roc``, ``pr`` and ``reliability`` of the
    headline ``view``; ``worst_errors`` lists its most wrongly scored images, ``path, label, generator, score``.
    ``deployment`` is None without validation rows of both classes. ``run_info`` says what was judged and how, for the
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
    draws: int = intervals.DRAWS,
    by: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
) -> EvaluationResult:
    """Judge the test rows of a checked scores file; its validation rows only set thresholds and calibrators.

    The headline is the view ``clean``, or the only view there is. A file with several views and no ``clean`` has no
    headline: its metrics are omitted, but for those over the views. ``draws`` = 0 leaves the bootstrap out, and of very
    many rows fewer are made (``intervals.affordable``); ``by`` names columns to break the scores down by, beyond
    generator and source.
    """
    test = scores[scores["split"] == "test"]
    if test.empty:
        raise InputError(f"no rows of split 'test' to judge; found {', '.join(sorted(set(scores['split'])))}")
    view, settings = default_view(test), settings or EvaluationSettings()
    shown, held = test[test["view"] == view], scores[(scores["split"] == "val") & (scores["view"] == view)]
    ranking, validation = rank_rows(shown), rank_rows(held)
    cuts = {"05": 0.5, "val": _oracle(validation, "validation"), "oracle": _oracle(ranking, "test")}
    draws = intervals.limit_draws(draws, max(test["view"].value_counts()))
    details = breakdown.breakdown_table(test, _numbers(cuts), seed, draws, by)
    found = summary.ranking_metrics(ranking) | summary.probability(ranking) | summary.worst_group_metrics(details, view)
    for name, cut in cuts.items():
        found |= summary.decisions(ranking, cut, name)
    found |= flip_rates(test, 0.5) | {"threshold_val": cuts["val"], "threshold_oracle": cuts["oracle"]}
    deployed = fit_decision_rule(held, settings) if validation.has_both else None
    found |= deployment_metrics(deployed, ranking) if deployed else dict.fromkeys(JSON_KEYS, str(cuts["val"]))
    if view:
        found |= {"num_real": len(ranking.reals), "num_fake": len(ranking.fakes)}
    found["num_unreadable"] = int(test.loc[test["score"].isna(), "path"].nunique())
    return EvaluationResult(
        metrics=_numbers(found),
        missing_metrics={name: value for name, value in found.items() if isinstance(value, str)},
        warnings=list(_warnings(test, view, ranking)),
        view=view,
        details=details,
        curves=_curves(ranking, deployed),
        worst_errors=_worst_errors(shown),
        deployment=deployed,
        run_info={"bootstrap draws": str(draws), "seed": str(seed)},
    )


def _numbers(found: summary.Findings) -> dict[str, float]:
    return {name: value for name, value in found.items() if not isinstance(value, str)}


def _oracle(ranking: Ranking, where: str) -> summary.MetricValue:
    return summary.missing_reason(ranking, summary.BOTH, where) or classification.max_accuracy_threshold(ranking)


def _curves(ranking: Ranking, deployed: DecisionRule | None) -> dict[str, pd.DataFrame]:
    """ROC, precision-recall, reliability before and after calibration; without rows where there is no such curve."""
    both, width = ranking.has_both, calibration.equal_width()
    reliability = calibration.reliability_curve(ranking, width)
    return {
        "roc": roc(ranking) if both else pd.DataFrame(columns=["fpr", "tpr"]),
        "pr": precision_recall(ranking) if both else pd.DataFrame(columns=["recall", "precision"]),
        "reliability": reliability,
        "calibrated": calibration.reliability_curve(calibrated(deployed, ranking), width)
        if deployed
        else reliability[:0],
    }


def _worst_errors(shown: pd.DataFrame) -> pd.DataFrame:
    """The reals that score highest and the fakes that score lowest, those on the wrong side of 0.5 only."""
    table = shown.loc[shown["score"].notna(), ["path", "label", "generator", "score"]]
    table = table.assign(error=(table["score"] - table["label"]).abs()).sort_values(
        ["error", "path"], ascending=[False, True]
    )
    return table[table["error"] > 0.5].groupby("label").head(NUM_WORST).drop(columns="error").reset_index(drop=True)


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
