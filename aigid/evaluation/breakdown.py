"""Where a detector fails: its metrics per view, per generator and per source of the reals, each with its interval."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.metrics import calibration, intervals
from aigid.metrics.classification import RANKED, rank

RATE_METRICS = ("acc_05", "acc_val", "acc_oracle", "tpr_05", "tpr_val", "fpr_05", "fpr_val")
COUNTS = ("num_real", "num_fake", "num_unreadable")
COLUMNS = [
    "view",
    "kind",
    "name",
    *COUNTS,
    *(name + end for name in (*RANKED, *RATE_METRICS, "ece") for end in ("", "_low", "_high")),
]


def breakdown_table(
    test: pd.DataFrame, thresholds: dict[str, float], seed: int, draws: int, by: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per view and part with ``COLUMNS``; a cell that the row cannot have is empty.

    ``kind`` says what the part is: ``all`` images of the view, one ``generator`` (its fakes against all the reals), one
    ``source`` of reals, or the images with one value of a column named in ``by``, such as their size or compression.
    ``test`` are checked rows of a scores file; ``thresholds`` are named ``05``, ``val`` and ``oracle``.
    """
    if unknown := [column for column in by if column not in test]:
        raise InputError(f"no column {unknown[0]!r} to break the scores down by; found {', '.join(test.columns)}")
    rows = []
    for view, images in test.groupby("view"):
        rows += _view(str(view), images, thresholds, seed, draws)
        for column in by:
            for value, part in images.groupby(images[column].astype("str")):
                rows.append(_pooled(str(view), column, str(value), part, thresholds, seed, draws))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[6:], "float64"))


def _view(view: str, images: pd.DataFrame, thresholds: dict[str, float], seed: int, draws: int) -> Iterator[dict]:
    reals, fakes = images[images["label"] == 0], images[images["label"] == 1]
    yield _pooled(view, "all", "all", images, thresholds, seed, draws)
    drawn = _draw(images, "generator", draws, seeding.numpy_generator("bootstrap", seed, view, "generator"))
    for name, part in fakes.groupby("generator"):
        both = pd.concat([reals, part])
        yield {
            **_row(view, "generator", str(name), both),
            **_ranking_interval(both, drawn.get(name)),
            **_shares("tpr", part, thresholds),
        }
    if "source" in images:
        for name, part in reals[reals["source"] != ""].groupby("source"):
            yield {**_row(view, "source", str(name), part), **_shares("fpr", part, thresholds)}


def _pooled(
    view: str, kind: str, name: str, images: pd.DataFrame, thresholds: dict[str, float], seed: int, draws: int
) -> dict:
    drawn = _draw(images, "label", draws, seeding.numpy_generator("bootstrap", seed, view, kind, name))
    return {
        **_row(view, kind, name, images),
        **_ranking_interval(images, drawn.get(1)),
        **_calibration_interval(images, draws, seeding.numpy_generator("bootstrap", seed, view, kind, name, "ece")),
        **_shares("acc", images, thresholds),
        **_shares("tpr", images[images["label"] == 1], thresholds),
        **_shares("fpr", images[images["label"] == 0], thresholds),
    }


def _row(view: str, kind: str, name: str, images: pd.DataFrame) -> dict:
    labels = images["label"][images["score"].notna()]
    counts = int((labels == 0).sum()), int((labels == 1).sum()), len(images) - len(labels)
    return {"view": view, "kind": kind, "name": name, **dict(zip(COUNTS, counts, strict=True))}


def _draw(images: pd.DataFrame, column: str, draws: int, rng: np.random.Generator) -> dict:
    """The bootstrap draws of each part of the fakes, named by ``column``: metric to (draws,); empty for one class."""
    read = images[images["score"].notna()]
    labels = read["label"].to_numpy()
    if draws == 0 or labels.min(initial=1) == labels.max(initial=0):
        return {}
    parts = read[column].to_numpy()
    rows = intervals.population(labels, read["score"].to_numpy(), parts, intervals.group_names(read))
    drawn = intervals.bootstrap(rows, draws, rng)
    return {part: {name: drawn[name][:, k] for name in drawn} for k, part in enumerate(np.unique(parts[labels == 1]))}


def _ranking_interval(images: pd.DataFrame, drawn: dict[str, NDArray] | None) -> dict[str, float]:
    """The ranking metrics with their intervals; a draw that always repeats the estimate says nothing and gives none."""
    read = images[images["score"].notna()]
    ranking = rank(read["label"], read["score"])
    if not ranking.has_both:
        return {}
    found = {name: metric(ranking) for name, metric in RANKED.items()}
    num = intervals.num_independent(read["label"].to_numpy(), intervals.group_names(read))
    for name in RANKED if drawn else ():
        low, high = intervals.interval(drawn[name], num)
        if low < high:
            found |= {f"{name}_low": low, f"{name}_high": high}
    if found["auroc"] == 1:
        found |= {"auroc_low": intervals.perfect_auroc_lower_bound(num), "auroc_high": 1.0}
    return found


def _calibration_interval(images: pd.DataFrame, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """The expected calibration error with its interval."""
    read = images[images["score"].notna()]
    if read.empty:
        return {}
    labels, scores, edges = read["label"].to_numpy(), read["score"].to_numpy(), calibration.equal_width()
    found = {"ece": calibration.expected_calibration_error(rank(labels, scores), edges)}
    if draws:
        rows = intervals.population(labels, scores, groups=intervals.group_names(read))
        drawn = intervals.bootstrap_error(rows, edges, draws, rng)
        found["ece_low"], found["ece_high"] = intervals.basic_interval(drawn, found["ece"])
    return found


def _shares(name: str, images: pd.DataFrame, thresholds: dict[str, float]) -> dict[str, float]:
    """The share of images on the side that ``name`` counts (``acc``, ``tpr``, ``fpr``) at each threshold."""
    read = images[images["score"].notna()]
    if read.empty:
        return {}
    found = {}
    for suffix, threshold in thresholds.items():
        if f"{name}_{suffix}" not in RATE_METRICS:
            continue
        called = read["score"].to_numpy() > threshold
        hits = called == (read["label"].to_numpy() == 1) if name == "acc" else called
        low, high = intervals.wilson_interval(hits, intervals.group_names(read))
        found |= {f"{name}_{suffix}": hits.mean(), f"{name}_{suffix}_low": low, f"{name}_{suffix}_high": high}
    return found
