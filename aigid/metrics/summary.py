"""The flat metrics of one detector on one dataset: each key a number, or the reason why there is none."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from aigid.metrics import calibration, classification
from aigid.metrics.classification import Ranking

MetricValue = float | str  # the number, or why there is none
Findings = dict[str, MetricValue]
Metric = Callable[[Ranking], float]

REALS, FAKES, BOTH, ANY = ("reals",), ("fakes",), ("reals", "fakes"), ()

RANKING_METRICS: dict[str, Metric] = {
    **classification.RANKED,
    "pauc_fpr5": partial(classification.partial_auroc, fpr=0.05),
}
PROBABILITY: dict[str, Metric] = {
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


def missing_reason(ranking: Ranking, needs: tuple[str, ...], where: str = "test") -> str:
    """Why the rows of ``where`` cannot serve a metric with these needs; empty if they can."""
    absent = [side for side in BOTH if not len(getattr(ranking, side))]
    if len(absent) == 2:
        return f"no readable {where} rows"
    return "".join(f"no readable {where} {side}" for side in absent if side in needs)


def ranking_metrics(ranking: Ranking) -> Findings:
    """How well reals and fakes are told apart, no threshold being set."""
    why = missing_reason(ranking, BOTH)
    return {name: why or metric(ranking) for name, metric in RANKING_METRICS.items()}


def probability(ranking: Ranking) -> Findings:
    """How far the scores are from probabilities."""
    why = missing_reason(ranking, ANY)
    return {name: why or metric(ranking) for name, metric in PROBABILITY.items()}


def decisions(ranking: Ranking, threshold: MetricValue, suffix: str) -> Findings:
    """What holds at one threshold: ``acc_<suffix>``, ``acc_real_<suffix>``, ...; plain ``balanced_acc`` is at 0.5.

    The oracle threshold, which no user has, gets the accuracies alone.
    """
    found: Findings = {}
    for name, (metric, needs) in THRESHOLD_METRICS.items():
        if suffix == "oracle" and "acc" not in name:
            continue
        key = "balanced_acc" if (name, suffix) == ("balanced_acc", "05") else f"{name}_{suffix}"
        why = threshold if isinstance(threshold, str) else missing_reason(ranking, needs)
        value = why or metric(ranking, threshold)
        found[key] = "no image is called generated at this threshold" if value is None else value
    return found


def worst_group_metrics(details: pd.DataFrame, view: str) -> Findings:
    """What a details table says of the headline ``view``: the mean and worst generator, the worst source, other views.

    ``worst_source_fpr`` is the highest false positive rate at 0.5 among all sources of reals, be they large or small;
    ``worst_source_num_real`` says on how many images it rests.
    """
    here = details[details["view"] == view]
    generators = here[(here["kind"] == "generator") & here["auroc"].notna()]
    sources = here[here["kind"] == "source"]
    others = details.loc[(details["view"] != view) & (details["kind"] == "all"), "auroc"]
    no_generator = "no generator to set against reals in the test rows"
    no_source = "no test real has a source"
    no_threshold = "no validation threshold" if len(sources) else no_source
    no_view = f"no view but {view!r} can be judged"
    return {
        "map": _known(generators["ap"].mean(), no_generator),
        "worst_generator_auroc": _known(generators["auroc"].min(), no_generator),
        "worst_generator_num_fake": _known(generators.nsmallest(1, "auroc")["num_fake"].min(), no_generator),
        "worst_source_fpr": _known(sources["fpr_05"].max(), no_source),
        "worst_source_num_real": _known(sources.nlargest(1, "fpr_05")["num_real"].min(), no_source),
        "worst_source_fpr_val": _known(sources["fpr_val"].max(), no_threshold),
        "auroc_robust": _known(others.mean(), no_view),
        "worst_view_auroc": _known(others.min(), no_view),
    }


def _known(value: np.generic, why: str) -> MetricValue:
    return why if pd.isna(value) else value.item()
