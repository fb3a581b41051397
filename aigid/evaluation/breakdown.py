"""Metrics per view, per generator, per source of the reals and per stratum, each with its interval."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.metrics import calibration, intervals
from aigid.metrics.classification import RANKED, Floats, rank_rows

RATE_METRICS = ("acc_05", "acc_val", "acc_oracle", "tpr_05", "tpr_val", "fpr_05", "fpr_val")
COUNTS = ("num_real", "num_fake", "num_unreadable")
METRICS = [name + end for name in (*RANKED, *RATE_METRICS, "ece") for end in ("", "_low", "_high")]
COLUMNS = ["view", "kind", "name", *COUNTS, *METRICS]
Row = dict[str, str | int | float]
Values = dict[str, float]


def breakdown_table(
    test: pd.DataFrame, thresholds: Values, seed: int, n_bootstrap: int, strata: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per view and part with ``COLUMNS``; a cell that the row cannot have is empty.

    ``kind`` says what the part is: ``all`` images of the view, one ``generator`` (its fakes against all the reals), one
    ``source`` of reals, or the images with one value of a column in ``strata``, such as their size or compression.
    ``test`` are checked rows of a scores file; ``thresholds`` are named ``05``, ``val`` and ``oracle``.
    """
    if unknown := [column for column in strata if column not in test]:
        raise InputError(f"no column {unknown[0]!r} to break the scores down by; found {', '.join(test.columns)}")
    rows: list[Row] = []
    for view, images in test.groupby("view"):
        rows += _of_view(str(view), images, thresholds, seed, n_bootstrap)
        for column in strata:
            for value, part in images.groupby(images[column].astype("str")):
                rows.append(_pooled(str(view), column, str(value), part, thresholds, seed, n_bootstrap))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(METRICS, "float64"))


def _of_view(view: str, images: pd.DataFrame, thresholds: Values, seed: int, n_bootstrap: int) -> Iterator[Row]:
    reals, fakes = images[images["label"] == 0], images[images["label"] == 1]
    yield _pooled(view, "all", "all", images, thresholds, seed, n_bootstrap)
    rng = seeding.numpy_generator("bootstrap", seed, view, "generator")
    draws = _bootstrap(images, "generator", n_bootstrap, rng)
    for name, part in fakes.groupby("generator"):
        both = pd.concat([reals, part])
        ranking = _ranking_interval(both, draws.get(name))
        yield {**_row(view, "generator", str(name), both), **ranking, **_rates("tpr", part, thresholds)}
    if "source" in images:
        for name, part in reals[reals["source"] != ""].groupby("source"):
            yield {**_row(view, "source", str(name), part), **_rates("fpr", part, thresholds)}


def _pooled(
    view: str, kind: str, name: str, images: pd.DataFrame, thresholds: Values, seed: int, n_bootstrap: int
) -> Row:
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
    readable = images[images["score"].notna()]
    labels, parts = readable["label"].to_numpy(), readable[column].to_numpy()
    if n_bootstrap == 0 or labels.min(initial=1) == labels.max(initial=0):
        return {}
    sample = intervals.population(labels, readable["score"].to_numpy(), parts, intervals.group_names(readable))
    draws = intervals.bootstrap(sample, n_bootstrap, rng)
    return {part: {name: draws[name][:, k] for name in draws} for k, part in enumerate(np.unique(parts[labels == 1]))}


def _ranking_interval(images: pd.DataFrame, draws: dict[str, Floats] | None) -> Values:
    """Return the ranking metrics with their intervals; draws that all repeat the estimate give none."""
    readable, ranking = images[images["score"].notna()], rank_rows(images)
    if not ranking.has_both:
        return {}
    values = {name: metric(ranking) for name, metric in RANKED.items()}
    num = intervals.num_independent(readable["label"].to_numpy(), intervals.group_names(readable))
    for name, of_metric in (draws or {}).items():
        low, high = intervals.interval(of_metric, num)
        if low < high:
            values |= {f"{name}_low": low, f"{name}_high": high}
    if values["auroc"] == 1:
        values |= {"auroc_low": intervals.perfect_auroc_lower_bound(num), "auroc_high": 1.0}
    return values


def _calibration_interval(images: pd.DataFrame, n_bootstrap: int, rng: np.random.Generator) -> Values:
    """Return the expected calibration error with its interval."""
    readable, bin_edges = images[images["score"].notna()], calibration.equal_width()
    if readable.empty:
        return {}
    values = {"ece": calibration.expected_calibration_error(rank_rows(readable), bin_edges)}
    if n_bootstrap:
        labels, scores = readable["label"].to_numpy(), readable["score"].to_numpy()
        sample = intervals.population(labels, scores, groups=intervals.group_names(readable))
        draws = intervals.bootstrap_error(sample, bin_edges, n_bootstrap, rng)
        values["ece_low"], values["ece_high"] = intervals.basic_interval(draws, values["ece"])
    return values


def _rates(name: str, images: pd.DataFrame, thresholds: Values) -> Values:
    """Return the rate ``name`` (``acc``, ``tpr``, ``fpr``) of ``images`` at each threshold, with its interval."""
    readable = images[images["score"].notna()]
    values: Values = {}
    for suffix, threshold in thresholds.items():
        key = f"{name}_{suffix}"
        if key in RATE_METRICS and len(readable):
            positive = readable["score"].to_numpy() > threshold
            hits = positive == (readable["label"].to_numpy() == 1) if name == "acc" else positive
            low, high = intervals.wilson_interval(hits, intervals.group_names(readable))
            values |= {key: hits.mean(), f"{key}_low": low, f"{key}_high": high}
    return values
