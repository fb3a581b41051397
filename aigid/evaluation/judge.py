"""The judge: from the scores of one detector on one dataset to everything that is said about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from aigid.base.errors import InputError
from aigid.evaluation import breakdown, calibration, curves, headline, intervals, thresholds
from aigid.evaluation.deployment import KEYS, Deployment, EvaluationSettings, calibrated, deploy, measure
from aigid.evaluation.ranking import Ranking
from aigid.evaluation.scores import CLEAN, headline_view, rank_rows
from aigid.evaluation.stability import stability

HARDEST = 8  # images a class


@dataclass(frozen=True)
class Judgement:
    """What is said about one detector on one dataset.

    ``metrics`` holds the flat keys that could be computed, ``missing_metrics`` the others with their reasons;
    ``details`` is the table of ``breakdown.tabulate``; ``curves`` holds ``roc``, ``pr`` and ``reliability`` of the
    headline ``view``; ``hardest`` lists its most wrongly scored images, ``path, label, generator, score``.
    ``deployment`` is None without validation rows of both classes. ``run_info`` says what was judged and how, for the
    report.
    """

    metrics: dict[str, float]
    missing_metrics: dict[str, str]
    warnings: list[str]
    view: str
    details: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    hardest: pd.DataFrame
    deployment: Deployment | None = None
    run_info: dict[str, str] = field(default_factory=dict)


def judge(
    scores: pd.DataFrame,
    seed: int = 0,
    draws: int = intervals.DRAWS,
    by: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
) -> Judgement:
    """Judge the test rows of a checked scores file; its validation rows only set thresholds and calibrators.

    The headline is the view ``clean``, or the only view there is. A file with several views and no ``clean`` has no
    headline: its metrics are omitted, but for those over the views. ``draws`` = 0 leaves the bootstrap out, and of very
    many rows fewer are made (``intervals.affordable``); ``by`` names columns to break the scores down by, beyond
    generator and source.
    """
    test = scores[scores["split"] == "test"]
    if test.empty:
        raise InputError(f"no rows of split 'test' to judge; found {', '.join(sorted(set(scores['split'])))}")
    view, settings = headline_view(test), settings or EvaluationSettings()
    shown, held = test[test["view"] == view], scores[(scores["split"] == "val") & (scores["view"] == view)]
    ranking, validation = rank_rows(shown), rank_rows(held)
    cuts = {"05": 0.5, "val": _best(validation, "validation"), "oracle": _best(ranking, "test")}
    draws = intervals.affordable(draws, max(test["view"].value_counts()))
    details = breakdown.tabulate(test, _numbers(cuts), seed, draws, by)
    found = headline.ordering(ranking) | headline.probability(ranking) | headline.over_parts(details, view)
    for name, cut in cuts.items():
        found |= headline.decisions(ranking, cut, name)
    found |= stability(test, 0.5) | {"threshold_val": cuts["val"], "threshold_oracle": cuts["oracle"]}
    deployed = deploy(held, settings) if validation.has_both else None
    found |= measure(deployed, ranking) if deployed else dict.fromkeys(KEYS, str(cuts["val"]))
    if view:
        found |= {"num_real": len(ranking.reals), "num_fake": len(ranking.fakes)}
    found["num_unreadable"] = int(test.loc[test["score"].isna(), "path"].nunique())
    return Judgement(
        metrics=_numbers(found),
        missing_metrics={name: value for name, value in found.items() if isinstance(value, str)},
        warnings=list(_warnings(test, view, ranking)),
        view=view,
        details=details,
        curves=_curves(ranking, deployed),
        hardest=_hardest(shown),
        deployment=deployed,
        run_info={"bootstrap draws": str(draws), "seed": str(seed)},
    )


def _numbers(found: headline.Findings) -> dict[str, float]:
    return {name: value for name, value in found.items() if not isinstance(value, str)}


def _best(ranking: Ranking, where: str) -> headline.Finding:
    return headline.lacking(ranking, headline.BOTH, where) or thresholds.most_accurate(ranking)


def _curves(ranking: Ranking, deployed: Deployment | None) -> dict[str, pd.DataFrame]:
    """ROC, precision-recall, reliability before and after calibration; without rows where there is no such curve."""
    both, width = ranking.has_both, calibration.equal_width()
    reliability = calibration.reliability(ranking, width)
    return {
        "roc": curves.roc(ranking) if both else pd.DataFrame(columns=["fpr", "tpr"]),
        "pr": curves.precision_recall(ranking) if both else pd.DataFrame(columns=["recall", "precision"]),
        "reliability": reliability,
        "calibrated": calibration.reliability(calibrated(deployed, ranking), width) if deployed else reliability[:0],
    }


def _hardest(shown: pd.DataFrame) -> pd.DataFrame:
    """The reals that score highest and the fakes that score lowest, those on the wrong side of 0.5 only."""
    table = shown.loc[shown["score"].notna(), ["path", "label", "generator", "score"]]
    table = table.assign(error=(table["score"] - table["label"]).abs()).sort_values(
        ["error", "path"], ascending=[False, True]
    )
    return table[table["error"] > 0.5].groupby("label").head(HARDEST).drop(columns="error").reset_index(drop=True)


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
    if ranking.has_both and ranking.reals[0] == ranking.fakes[0] and len(ranking.cuts) == 1:
        yield f"every image scores {ranking.reals[0]:g}: the detector says nothing"
    if 0 < len(ranking.reals) < 100:
        yield f"{len(ranking.reals)} reals: TPR at 1 % FPR allows no false alarm at all"
