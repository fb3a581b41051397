"""The flat metrics of a detector on a dataset, and metrics by view, generator, source and stratum with intervals.

A flat metric is a number, or the reason why there is none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.evaluation import subsets
from aigid.metrics import calibration, classification, intervals, resampling
from aigid.metrics.classification import ANY, BOTH, RANKED, Floats, MetricValue, MetricValues, Ranking, rank_rows

RATE_METRICS = ("acc_05", "acc_val", "acc_oracle", "tpr_05", "tpr_val", "fpr_05", "fpr_val", "fpr_operating")
GIVEN = ("acc_given", "fpr_given", "tpr_given")
COUNTS = ("num_real", "num_fake", "num_unreadable")
METRICS = [name + end for name in (*RANKED, *RATE_METRICS, "ece") for end in ("", "_low", "_high")]
COLUMNS = ["view", "kind", "name", *COUNTS, *METRICS]
Row = dict[str, str | int | float]
Values = dict[str, float]


def breakdown_table(
    test: pd.DataFrame,
    thresholds: Values,
    seed: int,
    n_bootstrap: int,
    strata: Sequence[str] = (),
    manifest: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row per view and part with ``COLUMNS``; a cell that the row cannot have is empty.

    ``kind`` says what the part is: ``all`` images of the view, one ``generator`` (its fakes against all the reals), one
    ``source`` of reals, the images with one value of a column in ``strata``, such as their size or compression, or
    those that are ``unseen``: of generators and sources that the ``manifest`` has in test alone.
    ``test`` are checked rows of a scores file; ``thresholds`` are named ``05``, ``val``, ``oracle``, ``operating``.
    """
    if unknown := [column for column in strata if column not in test]:
        raise InputError(f"no column {unknown[0]!r} to break the scores down by; found {', '.join(test.columns)}")
    rows: list[Row] = []
    for view, images in subsets.parts(test, "view"):
        rows += _of_view(str(view), images, thresholds, seed, n_bootstrap)
        for name, part in [] if manifest is None else subsets.unseen_parts(images, manifest):
            rows.append(pooled(str(view), "unseen", name, part, thresholds, seed, n_bootstrap))
        for column in strata:
            for value, part in images.groupby(images[column].astype("str")):
                rows.append(pooled(str(view), column, str(value), part, thresholds, seed, n_bootstrap))
    return to_table(rows)


def to_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a table with ``COLUMNS``."""
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(METRICS, "float64"))


def _of_view(view: str, images: pd.DataFrame, thresholds: Values, seed: int, n_bootstrap: int) -> Iterator[Row]:
    yield pooled(view, "all", "all", images, thresholds, seed, n_bootstrap)
    rng = seeding.numpy_generator("bootstrap", seed, view, "generator")
    draws = _bootstrap(images, "generator", n_bootstrap, rng)
    rows = images[["label", "score", "generator", *(name for name in ("group", "source") if name in images)]]
    reals, fakes = (rows[images["label"] == label].reset_index(drop=True) for label in (0, 1))
    for name, part in fakes.groupby("generator"):
        both = pd.concat([reals, part], ignore_index=True)
        ranking = _ranking_interval(both, draws.get(name))
        yield {**_row(view, "generator", str(name), both), **ranking, **_rates("tpr", part, thresholds)}
    if "source" in images:
        for name, part in reals[reals["source"] != ""].groupby("source"):
            yield {**_row(view, "source", str(name), part), **_rates("fpr", part, thresholds)}


def pooled(
    view: str, kind: str, name: str, images: pd.DataFrame, thresholds: Values, seed: int, n_bootstrap: int
) -> Row:
    """Return the row of a part of one view's images, all generators pooled."""
    draws = _bootstrap(images, "label", n_bootstrap, seeding.numpy_generator("bootstrap", seed, view, kind, name))
    rng = seeding.numpy_generator("bootstrap", seed, view, kind, name, "ece")
    return {
        **_row(view, kind, name, images),
        **_ranking_interval(images, draws.get(1)),
        **_calibration_interval(images, n_bootstrap, rng),
        **_rates("acc", images, thresholds),
        **_rates("tpr", images[images["label"] == 1], thresholds),
        **_rates("fpr", images[images["label"] == 0], thresholds),
    }


def _row(view: str, kind: str, name: str, images: pd.DataFrame) -> Row:
    labels = images["label"][images["score"].notna()]
    counts = int((labels == 0).sum()), int((labels == 1).sum()), len(images) - len(labels)
    return {"view": view, "kind": kind, "name": name, **dict(zip(COUNTS, counts, strict=True))}


def _bootstrap(
    images: pd.DataFrame, column: str, n_bootstrap: int, rng: np.random.Generator
) -> dict[object, dict[str, Floats]]:
    """Return the draws (n_bootstrap,) of each metric by part of the fakes, named by ``column``; none for one class."""
    readable = classification.scored(images)
    labels = readable["label"].to_numpy()
    if n_bootstrap == 0 or labels.min(initial=1) >= labels.max(initial=0):
        return {}
    parts, names = pd.factorize(readable[column], sort=True)
    codes = np.unique(parts[labels == 1])
    sample = resampling.population(labels, readable["score"].to_numpy(), parts, resampling.group_codes(readable))
    del parts
    draws = resampling.bootstrap(sample, n_bootstrap, rng)
    return {names[code]: {name: draws[name][:, k] for name in draws} for k, code in enumerate(codes)}


def _ranking_interval(images: pd.DataFrame, draws: dict[str, Floats] | None) -> Values:
    """Return the ranking metrics with their intervals; draws that all repeat the estimate give none."""
    readable, ranking = classification.scored(images), rank_rows(images)
    if not ranking.has_both:
        return {}
    values = {name: metric(ranking) for name, metric in RANKED.items()}
    num = intervals.num_independent(readable["label"].to_numpy(), resampling.group_codes(readable))
    for name, of_metric in (draws or {}).items():
        low, high = intervals.interval(of_metric, num)
        if low < high:
            values |= {f"{name}_low": low, f"{name}_high": high}
    if values["auroc"] == 1:
        values |= {"auroc_low": intervals.perfect_auroc_lower_bound(num), "auroc_high": 1.0}
    return values


def _calibration_interval(images: pd.DataFrame, n_bootstrap: int, rng: np.random.Generator) -> Values:
    """Return the expected calibration error with its interval."""
    readable = classification.scored(images)
    if readable.empty:
        return {}
    values = {"ece": calibration.expected_calibration_error(rank_rows(readable))}
    if n_bootstrap:
        labels, scores = readable["label"].to_numpy(), readable["score"].to_numpy()
        sample = resampling.population(labels, scores, groups=resampling.group_codes(readable))
        draws = resampling.bootstrap_error(sample, calibration.EQUAL_WIDTH, n_bootstrap, rng)
        values["ece_low"], values["ece_high"] = intervals.basic_interval(draws, values["ece"])
    return values


def _rates(name: str, images: pd.DataFrame, thresholds: Values, keys: Sequence[str] = RATE_METRICS) -> Values:
    """Return the rate ``name`` (``acc``, ``tpr``, ``fpr``) of ``images`` at each threshold, with its interval."""
    readable = classification.scored(images)
    values: Values = {}
    for suffix, threshold in thresholds.items():
        key = f"{name}_{suffix}"
        if key in keys and len(readable):
            positive = readable["score"].to_numpy() > threshold
            hits = positive == (readable["label"].to_numpy() == 1) if name == "acc" else positive
            low, high = intervals.wilson_interval(hits, resampling.group_codes(readable))
            values |= {key: hits.mean(), f"{key}_low": low, f"{key}_high": high}
    return values


# The metric of a ranking, and at a threshold, with the classes that it needs.
THRESHOLD_FREE_METRICS: dict[str, tuple[Callable[[Ranking], float], tuple[str, ...]]] = {
    **{name: (metric, BOTH) for name, metric in RANKED.items()},
    "pauc_fpr5": (partial(classification.partial_auroc, fpr=0.05), BOTH),
    "ece": (calibration.expected_calibration_error, ANY),
    "ece_mass": (lambda ranking: calibration.expected_calibration_error(ranking, calibration.equal_mass(ranking)), ANY),
    "brier": (calibration.brier, ANY),
    "nll": (calibration.log_loss, ANY),
}
THRESHOLD_METRICS: dict[str, tuple[Callable[[Ranking, float], float | None], tuple[str, ...]]] = {
    "acc": (classification.accuracy, ANY),
    "acc_real": (classification.real_accuracy, classification.REALS),
    "acc_fake": (classification.fake_accuracy, classification.FAKES),
    "balanced_acc": (classification.balanced_accuracy, BOTH),
    "f1": (classification.f1, BOTH),
    "f1_macro": (classification.f1_macro, BOTH),
    **{f"precision_prev{p}": (partial(classification.precision_at, prevalence=p / 100), BOTH) for p in (50, 10, 1)},
}


def threshold_free_metrics(ranking: Ranking) -> MetricValues:
    """Return how well scores rank, and how far they are from probabilities."""
    return {
        name: classification.missing_reason(ranking, required_classes) or metric(ranking)
        for name, (metric, required_classes) in THRESHOLD_FREE_METRICS.items()
    }


def threshold_metrics(ranking: Ranking, thresholds: Mapping[str, MetricValue]) -> MetricValues:
    """Return the metrics at named thresholds: ``acc_<name>``, ``acc_real_<name>``, ...; ``balanced_acc`` is at 0.5.

    The oracle threshold, which no user has, gets the accuracies alone.
    """
    values: MetricValues = {}
    for (suffix, threshold), (name, (metric, required_classes)) in product(
        thresholds.items(), THRESHOLD_METRICS.items()
    ):
        if suffix == "oracle" and "acc" not in name:
            continue
        value: MetricValue | None = threshold
        if not isinstance(threshold, str):
            value = classification.missing_reason(ranking, required_classes) or metric(ranking, threshold)
        key = "balanced_acc" if (name, suffix) == ("balanced_acc", "05") else f"{name}_{suffix}"
        values[key] = "no image is called generated at this threshold" if value is None else value
    return values


def given_threshold_metrics(images: pd.DataFrame, threshold: float) -> Values:
    """Return accuracy, FPR and TPR with their Wilson intervals of one view's rows at a threshold that a tool came with.

    The keys end in ``_given``; those that need a class without an image are left out.
    """
    parts = {"acc": images, "fpr": images[images["label"] == 0], "tpr": images[images["label"] == 1]}
    values = {"threshold_given": threshold}
    for name, part in parts.items():
        values |= _rates(name, part, {"given": threshold}, GIVEN)
    if {*GIVEN} <= {*values}:
        values["balanced_acc_given"] = (1 - values["fpr_given"] + values["tpr_given"]) / 2
    return {name: float(value) for name, value in values.items()}


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
    no_source, no_view = "no test real has a source", f"no view but {view!r} can be judged"
    values = {
        "map": (generators["ap"].mean(), no_generator),
        "worst_generator_auroc": (generators["auroc"].min(), no_generator),
        "worst_generator_num_fake": (generators.nsmallest(1, "auroc")["num_fake"].min(), no_generator),
        "worst_source_fpr": (sources["fpr_05"].max(), no_source),
        "worst_source_num_real": (sources.nlargest(1, "fpr_05")["num_real"].min(), no_source),
        "worst_source_fpr_val": (sources["fpr_val"].max(), "no validation threshold" if len(sources) else no_source),
        "auroc_robust": (others.mean(), no_view),
        "worst_view_auroc": (others.min(), no_view),
    }
    return {name: reason if pd.isna(value) else np.asarray(value).item() for name, (value, reason) in values.items()}


def unseen_metrics(details: pd.DataFrame, view: str) -> MetricValues:
    """Return the ranking metrics of ``view`` on the fakes of generators in test alone, against all reals."""
    rows = details[(details["view"] == view) & (details["kind"] == "unseen") & (details["name"] == subsets.UNSEEN[0])]
    reason = "no manifest names a generator that is in test alone"
    names = {**{f"{name}_unseen": name for name in RANKED}, "num_fake_unseen": "num_fake"}
    return {key: rows[name].iloc[0].item() if len(rows) else reason for key, name in names.items()}
