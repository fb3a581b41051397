"""The flat metrics of one detector on one dataset: each key a number, or the reason why there is none."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from aigid.metrics import calibration, classification
from aigid.metrics.classification import Ranking

MetricValue = float | str  # the number, or why there is none
MetricValues = dict[str, MetricValue]
Metric = Callable[[Ranking], float]

REALS, FAKES, BOTH, ANY = ("reals",), ("fakes",), ("reals", "fakes"), ()

RANKING_METRICS: dict[str, Metric] = {
    **classification.RANKED,
    "pauc_fpr5": partial(classification.partial_auroc, fpr=0.05),
}
PROBABILITY_METRICS: dict[str, Metric] = {
    "ece": lambda ranking: calibration.expected_calibration_error(ranking, calibration.equal_width()),
    "ece_mass": lambda ranking: calibration.expected_calibration_error(ranking, calibration.equal_mass(ranking)),
    "brier": calibration.brier,
    "nll": calibration.log_loss,
}
THRESHOLD_METRICS: dict[str, tuple[Callable[[Ranking, float], float | None], tuple[str, ...]]] = {
    "acc": (classification.accuracy, ANY),
    "acc_real": (classification.real_accuracy, REALS),
    "acc_fake": (classification.fake_accuracy, FAKES),
    "balanced_acc": (classification.balanced_accuracy, BOTH),
    "f1": (classification.f1, BOTH),
    "f1_macro": (classification.f1_macro, BOTH),
    "precision_prev50": (partial(classification.precision_at, prevalence=0.5), BOTH),
    "precision_prev10": (partial(classification.precision_at, prevalence=0.1), BOTH),
    "precision_prev1": (partial(classification.precision_at, prevalence=0.01), BOTH),
}


def missing_reason(ranking: Ranking, required_classes: tuple[str, ...], context: str = "test") -> str:
    """Return why the rows of ``context`` cannot serve a metric that needs these classes; empty if they can."""
    absent = [side for side in BOTH if not len(getattr(ranking, side))]
    if len(absent) == 2:
        return f"no readable {context} rows"
    return "".join(f"no readable {context} {side}" for side in absent if side in required_classes)


def threshold_free_metrics(ranking: Ranking) -> MetricValues:
    """Return how well scores rank (``RANKING_METRICS``) and how far they are from probabilities."""
    both, any_class = missing_reason(ranking, BOTH), missing_reason(ranking, ANY)
    return {
        **{name: both or metric(ranking) for name, metric in RANKING_METRICS.items()},
        **{name: any_class or metric(ranking) for name, metric in PROBABILITY_METRICS.items()},
    }


def threshold_metrics(ranking: Ranking, threshold: MetricValue, suffix: str) -> MetricValues:
    """Return the metrics at one threshold: ``acc_<suffix>``, ``acc_real_<suffix>``, ...; ``balanced_acc`` is at 0.5.

    The oracle threshold, which no user has, gets the accuracies alone.
    """
    values: MetricValues = {}
    for name, (metric, required_classes) in THRESHOLD_METRICS.items():
        if suffix == "oracle" and "acc" not in name:
            continue
        key = "balanced_acc" if (name, suffix) == ("balanced_acc", "05") else f"{name}_{suffix}"
        if isinstance(threshold, str):
            values[key] = threshold
        else:
            value = missing_reason(ranking, required_classes) or metric(ranking, threshold)
            values[key] = "no image is called generated at this threshold" if value is None else value
    return values


def worst_group_metrics(details: pd.DataFrame, view: str) -> MetricValues:
    """Return from a breakdown the mean and worst generator and worst source of ``view``, and the other views' AUROC.

    ``worst_source_fpr`` is the highest false positive rate at 0.5 among all sources of reals, whatever their size;
    ``worst_source_num_real`` is the number of its images.
    """
    of_view = details[details["view"] == view]
    generators = of_view[(of_view["kind"] == "generator") & of_view["auroc"].notna()]
    sources = of_view[of_view["kind"] == "source"]
    others = details.loc[(details["view"] != view) & (details["kind"] == "all"), "auroc"]
    no_generator = "no generator to set against reals in the test rows"
    no_source = "no test real has a source"
    no_threshold = "no validation threshold" if len(sources) else no_source
    no_view = f"no view but {view!r} can be judged"
    return {
        "map": _value_or(generators["ap"].mean(), no_generator),
        "worst_generator_auroc": _value_or(generators["auroc"].min(), no_generator),
        "worst_generator_num_fake": _value_or(generators.nsmallest(1, "auroc")["num_fake"].min(), no_generator),
        "worst_source_fpr": _value_or(sources["fpr_05"].max(), no_source),
        "worst_source_num_real": _value_or(sources.nlargest(1, "fpr_05")["num_real"].min(), no_source),
        "worst_source_fpr_val": _value_or(sources["fpr_val"].max(), no_threshold),
        "auroc_robust": _value_or(others.mean(), no_view),
        "worst_view_auroc": _value_or(others.min(), no_view),
    }


def _value_or(value: Any, reason: str) -> MetricValue:
    return reason if pd.isna(value) else np.asarray(value).item()
