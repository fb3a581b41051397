"""The flat metrics of one detector on one dataset: each key a number, or the reason why there is none."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from aigid.evaluation import calibration, metrics
from aigid.evaluation.ranking import Ranking

Finding = float | str  # the number, or why there is none
Findings = dict[str, Finding]
Metric = Callable[[Ranking], float]

REALS, FAKES, BOTH, ANY = ("reals",), ("fakes",), ("reals", "fakes"), ()

ORDERING: dict[str, Metric] = {**metrics.RANKED, "pauc_fpr5": partial(metrics.partial_auroc, fpr=0.05)}
PROBABILITY: dict[str, Metric] = {
    "ece": lambda ranking: calibration.expected_error(ranking, calibration.equal_width()),
    "ece_mass": lambda ranking: calibration.expected_error(ranking, calibration.equal_mass(ranking)),
    "brier": calibration.brier,
    "nll": calibration.log_loss,
}
DECISION: dict[str, tuple[Callable[[Ranking, float], float | None], tuple[str, ...]]] = {
    "acc": (metrics.accuracy, ANY),
    "acc_real": (metrics.real_accuracy, REALS),
    "acc_fake": (metrics.fake_accuracy, FAKES),
    "balanced_acc": (metrics.balanced_accuracy, BOTH),
    "f1": (metrics.f1, BOTH),
    "f1_macro": (metrics.f1_macro, BOTH),
    "precision_prev50": (partial(metrics.precision_at, prevalence=0.5), BOTH),
    "precision_prev10": (partial(metrics.precision_at, prevalence=0.1), BOTH),
    "precision_prev1": (partial(metrics.precision_at, prevalence=0.01), BOTH),
}


def lacking(ranking: Ranking, needs: tuple[str, ...], where: str = "test") -> str:
    """Why the rows of ``where`` cannot serve a metric with these needs; empty if they can."""
    absent = [side for side in BOTH if not len(getattr(ranking, side))]
    if len(absent) == 2:
        return f"no readable {where} rows"
    return "".join(f"no readable {where} {side}" for side in absent if side in needs)


def ordering(ranking: Ranking) -> Findings:
    """How well reals and fakes are told apart, no threshold being set."""
    why = lacking(ranking, BOTH)
    return {name: why or metric(ranking) for name, metric in ORDERING.items()}


def probability(ranking: Ranking) -> Findings:
    """How far the scores are from probabilities."""
    why = lacking(ranking, ANY)
    return {name: why or metric(ranking) for name, metric in PROBABILITY.items()}


def decisions(ranking: Ranking, threshold: Finding, suffix: str) -> Findings:
    """What holds at one threshold: ``acc_<suffix>``, ``acc_real_<suffix>``, ...; plain ``balanced_acc`` is at 0.5.

    The oracle threshold, which no user has, gets the accuracies alone.
    """
    found: Findings = {}
    for name, (metric, needs) in DECISION.items():
        if suffix == "oracle" and "acc" not in name:
            continue
        key = "balanced_acc" if (name, suffix) == ("balanced_acc", "05") else f"{name}_{suffix}"
        why = threshold if isinstance(threshold, str) else lacking(ranking, needs)
        value = why or metric(ranking, threshold)
        found[key] = "no image is called generated at this threshold" if value is None else value
    return found


def over_parts(details: pd.DataFrame, view: str) -> Findings:
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


def _known(value: np.generic, why: str) -> Finding:
    return why if pd.isna(value) else value.item()
