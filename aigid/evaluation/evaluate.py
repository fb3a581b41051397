"""Evaluate the scores of a detector on a dataset; results on disk: flat metrics, tables and curves in three folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import FiniteFloat

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.files import write_json
from aigid.core.manifest import ROLE
from aigid.core.params import validate
from aigid.core.scores import DATE
from aigid.evaluation import breakdown, cautions, over_time, subsets
from aigid.metrics import calibration, classification, decisions, resampling
from aigid.metrics.classification import BOTH, Ranking, rank_rows
from aigid.metrics.decisions import DecisionRule, EvaluationSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = ("roc", "pr", "reliability", "calibrated")
NOTE_KEYS = {"view": "view", "warnings": "warnings", "missing_metrics": "omitted", "run_info": "facts"}  # field to key
CHANGES = "changes"  # key of those over time, of dated images alone
TYPES: dict[str, Any] = {"view": str, "warnings": list[str], "metrics": dict[str, int | FiniteFloat]}
Cell = tuple[str, str]  # detector, dataset
NUM_WORST = 8  # images a class


@dataclass(frozen=True)
class Section:
    """A part of a report beyond its datasets, such as an audit: an intro, tables by title, figures by caption."""

    intro: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationResult:
    """The results of one detector on one dataset.

    ``metrics`` holds the flat keys that could be computed, ``missing_metrics`` the others with their reasons;
    ``details`` is the table of ``breakdown_table``; ``curves`` holds ``roc``, ``pr`` and ``reliability`` of the
    headline ``view``; ``worst_errors`` lists its most wrongly scored images, ``path, label, generator, score``.
    ``deployment`` is None without validation rows of both classes. ``run_info`` describes inputs and settings, for the
    report; ``changes`` are those of ``over_time.Timeline``, whose batches are in ``details``, None without dates.
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
    changes: list[over_time.Change] | None = None

    @cached_property
    def _parts(self) -> dict[Any, pd.DataFrame]:
        return dict(iter(self.details.groupby(["view", "kind"], sort=False)))

    def parts(self, kind: str, view: str | None = None) -> pd.DataFrame:
        """Return the rows of ``details`` of one kind in a view, the headline's unless named."""
        return self._parts.get((view or self.view, kind), self.details[:0])


def evaluate(
    scores: pd.DataFrame,
    seed: int = 0,
    n_bootstrap: int = resampling.N_BOOTSTRAP,
    strata: Sequence[str] = (),
    settings: EvaluationSettings | None = None,
    manifest: pd.DataFrame | None = None,
) -> EvaluationResult:
    """Evaluate the test rows of a checked scores file; its validation rows only fit thresholds and calibrators.

    The headline is the view ``clean``, or the only view there is: of several others the metrics are missing, but for
    those over the views. ``n_bootstrap`` = 0 leaves the bootstrap out, very many rows get fewer draws; ``strata`` names
    columns to break the scores down by beside generator and source; ``manifest`` tells what is in test alone.
    """
    compact = subsets.compact(cautions.require_one_model(scores), strata, manifest is not None)
    (test, view, validation), settings = subsets.test_and_validation(compact), settings or EvaluationSettings()
    del compact
    strata = [*strata, ROLE] if ROLE in test and test[ROLE].nunique() > 1 else strata
    images = test if test["view"].nunique() == 1 else test[test["view"] == view]
    thresholds = {"05": 0.5, "val": _oracle(validation, "validation"), "oracle": _oracle(images, "test")}
    n_bootstrap = resampling.limit_draws(n_bootstrap, max(test["view"].value_counts()))
    rule = decisions.fit_decision_rule(validation, settings) if isinstance(thresholds["val"], float) else None
    cuts = _numbers(thresholds) | ({"operating": rule.operating_point.threshold} if rule else {})
    details = breakdown.breakdown_table(test, cuts, seed, n_bootstrap, strata, manifest)
    ranking = rank_rows(images)
    values = _flat_metrics(test, view, ranking, thresholds, details, rule)
    result = EvaluationResult(
        metrics=_numbers(values),
        missing_metrics={name: value for name, value in values.items() if isinstance(value, str)},
        warnings=list(cautions.on_scores(test, view, ranking, details)),
        view=view,
        details=details,
        curves=_curves(ranking, rule),
        worst_errors=_worst_errors(images, scores["path"]),
        deployment=rule,
        run_info=_run_info(test, n_bootstrap, seed),
    )
    dated = scores.loc[images.index] if DATE in scores else images
    return _over_time(result, over_time.timeline(dated, cuts, seed, n_bootstrap, settings.period))


def _over_time(result: EvaluationResult, dated: over_time.Timeline | None) -> EvaluationResult:
    if dated is None:
        return result
    details = pd.concat([result.details, dated.batches], ignore_index=True)
    metrics, warnings = result.metrics | dated.metrics(), [*result.warnings, *dated.warnings()]
    return replace(result, details=details, metrics=metrics, warnings=warnings, changes=dated.changes)


def _run_info(test: pd.DataFrame, n_bootstrap: int, seed: int) -> dict[str, str]:
    roles = sorted(set(test.get(ROLE, ())) - {""})
    return {"bootstrap draws": str(n_bootstrap), "seed": str(seed)} | ({"role": ", ".join(roles)} if roles else {})


def _flat_metrics(
    test: pd.DataFrame,
    view: str,
    ranking: Ranking,
    thresholds: dict[str, classification.MetricValue],
    details: pd.DataFrame,
    rule: DecisionRule | None,
) -> classification.MetricValues:
    no_rule = dict.fromkeys(decisions.JSON_KEYS, thresholds["val"])
    return {
        **breakdown.threshold_free_metrics(ranking),
        **breakdown.worst_group_metrics(details, view),
        **breakdown.unseen_metrics(details, view),
        **breakdown.threshold_metrics(ranking, thresholds),
        **decisions.flip_rates(test if test["view"].nunique() > 1 else test[:0], 0.5),
        **{f"threshold_{name}": thresholds[name] for name in ("val", "oracle")},
        **(decisions.deployment_metrics(rule, ranking) if rule else no_rule),
        **({"num_real": len(ranking.reals), "num_fake": len(ranking.fakes)} if view else {}),
        "num_unreadable": int(test.loc[test["score"].isna(), "path"].nunique()),
    }


def _numbers(values: classification.MetricValues) -> dict[str, float]:
    return {name: value for name, value in values.items() if not isinstance(value, str)}


def _oracle(rows: pd.DataFrame, context: str) -> classification.MetricValue:
    ranking = rank_rows(rows)
    return classification.missing_reason(ranking, BOTH, context) or classification.max_accuracy_threshold(ranking)


def _curves(ranking: Ranking, rule: DecisionRule | None) -> dict[str, pd.DataFrame]:
    """Return ROC, precision-recall, reliability before and after calibration; without rows where there is none."""
    both, reliability = ranking.has_both, calibration.reliability_curve(ranking)
    return {
        "roc": classification.roc(ranking) if both else pd.DataFrame(columns=["fpr", "tpr"]),
        "pr": classification.precision_recall(ranking) if both else pd.DataFrame(columns=["recall", "precision"]),
        "reliability": reliability,
        "calibrated": reliability[:0] if rule is None else calibration.reliability_curve(rule.calibrated(ranking)),
    }


def _worst_errors(images: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    """Return the reals that score highest and the fakes that score lowest, those on the wrong side of 0.5 only.

    ``names`` are the paths of all rows by their index.
    """
    error, chosen = (images["score"] - images["label"]).abs(), pd.Series(False, images.index)
    for label in (0, 1):
        wrong = (images["label"] == label) & (error > 0.5)
        chosen |= wrong & (error >= error[wrong].nlargest(NUM_WORST).min())
    table = images.loc[chosen, ["path", "label", "generator", "score"]].assign(error=error[chosen])
    table["path"] = names[names.index.isin(table.index)]
    worst = table.sort_values(["error", "path"], ascending=[False, True]).groupby("label").head(NUM_WORST)
    return worst.drop(columns="error").reset_index(drop=True).astype({"generator": "str"})


def write_result(result: EvaluationResult, root: Path | str, detector: str, dataset: str) -> None:
    """Write ``metrics/<detector>/<dataset>.json``, ``details/<detector>/<dataset>.{csv,json}`` and the curves.

    The curves are ``plots/<detector>/<dataset>.<roc|pr|reliability|calibrated>.csv``, with a header alone where there
    is none. With validation images, ``calibration/<detector>/<dataset>.json`` is the decision rule fitted on them.
    """
    paths = _result_paths(Path(root), detector, dataset)
    write_json(paths["metrics"], result.metrics)
    if result.deployment:
        decisions.save(result.deployment, paths["deployment"])
    else:
        paths["deployment"].unlink(missing_ok=True)
    notes = {key: getattr(result, name) for name, key in NOTE_KEYS.items()}
    notes |= {} if result.changes is None else {CHANGES: result.changes}
    write_json(paths["notes"], notes | {"hardest": result.worst_errors.to_dict("records")})
    for name, table in {"details": result.details, **result.curves}.items():
        tables.write(table, paths[name])


def read_results(root: Path | str, cells: Iterable[Cell] | None = None) -> dict[Cell, EvaluationResult]:
    """Return the results below ``root`` by detector and dataset; InputError if none or not all ``cells`` are there."""
    root = Path(root)
    available = sorted((file.parent.name, file.stem) for file in root.glob("metrics/*/*.json"))
    if missing := sorted("/".join(cell) for cell in set(cells or ()) - set(available)):
        raise InputError(f"{root}: no metrics of {', '.join(missing)}")
    if not available:
        raise InputError(f"{root}: no metrics/<detector>/<dataset>.json to report on")
    return {cell: _read_result(_result_paths(root, *cell)) for cell in available}


def _result_paths(root: Path, detector: str, dataset: str) -> dict[str, Path]:
    details, plots = root / "details" / detector, root / "plots" / detector
    return {
        "metrics": root / "metrics" / detector / f"{dataset}.json",
        "details": details / f"{dataset}.csv",
        "deployment": root / "calibration" / detector / f"{dataset}.json",
        "notes": details / f"{dataset}.json",
        **{name: plots / f"{dataset}.{name}.csv" for name in CURVES},
    }


def _read_result(paths: dict[str, Path]) -> EvaluationResult:
    try:
        notes = json.loads(paths["notes"].read_text(encoding="utf-8"))
        return EvaluationResult(
            metrics=validate(json.loads(paths["metrics"].read_text(encoding="utf-8")), TYPES["metrics"], "metrics"),
            **{name: validate(notes[key], TYPES.get(key, dict), key) for name, key in NOTE_KEYS.items()},
            deployment=decisions.load(paths["deployment"]) if paths["deployment"].exists() else None,
            details=_read_table(paths["details"]),
            curves={name: _read_table(paths[name]) for name in CURVES},
            worst_errors=pd.DataFrame(notes["hardest"], columns=["path", "label", "generator", "score"]),
            changes=validate(notes[CHANGES], list[over_time.Change], CHANGES) if CHANGES in notes else None,
        )
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{paths['metrics']}: its details cannot be read: {error}; evaluate it again") from None


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table; names stay text, be they ``NA`` or ``2024``; numbers read back to the same bits."""
    table = tables.read_csv(path)
    for column in table.columns.difference(["view", "kind", "name"], sort=False):
        table[column] = [(int if column.startswith("num") else float)(cell or "nan") for cell in table[column]]
    return table
