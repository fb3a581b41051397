"""Is one detector better than another? Both scored on the same images, so the difference is judged in pairs."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.scores import default_view
from aigid.metrics import intervals
from aigid.metrics.classification import RANKED, Floats, rank

COLUMNS = ["first", "second", "metric", "difference", "low", "high", "p", "num_images"]


def compare_all(
    scores: Mapping[str, pd.DataFrame], seed: int = 0, draws: int = intervals.DRAWS
) -> tuple[pd.DataFrame, list[str]]:
    """``compare`` of every two detectors, as one table, and a line for each pair that cannot be compared."""
    tables, refused = [pd.DataFrame(columns=COLUMNS)], []
    for first, second in combinations(scores, 2):
        try:
            table = compare(scores[first], scores[second], seed, draws)
        except InputError as error:
            refused.append(f"{first} and {second}: {error}")
        else:
            tables.append(table.assign(first=first, second=second)[COLUMNS])
    return pd.concat(tables[1:] or tables, ignore_index=True), refused


def compare(first: pd.DataFrame, second: pd.DataFrame, seed: int = 0, draws: int = intervals.DRAWS) -> pd.DataFrame:
    """Per ranking metric: ``difference`` (first - second), its interval ``low, high``, ``p`` and ``num_images``.

    Both are checked scores whose test rows of the headline view are the same images; what either could not read is
    left out. The interval and ``p`` are those of a paired bootstrap, but for AUROC of images without groups, where
    ``p`` is DeLong's. InputError where the images or their labels differ.
    """
    both = _paired(first, second)
    labels, groups = both["label"].to_numpy(), both["unit"].to_numpy()
    draws = intervals.limit_draws(draws, len(both))
    pair = [both[side].to_numpy() for side in ("score_first", "score_second")]
    drawn = [
        intervals.bootstrap(
            intervals.population(labels, scores, groups=groups), draws, seeding.numpy_generator("compare", seed)
        )
        for scores in pair
    ]
    rows = []
    for name, metric in RANKED.items():
        difference = metric(rank(labels, pair[0])) - metric(rank(labels, pair[1]))
        draw = (drawn[0][name] - drawn[1][name])[:, 0]
        low, high = intervals.interval(draw, intervals.num_independent(labels, groups))
        p = 2 * (1 + min(np.sum(draw <= 0), np.sum(draw >= 0))) / (1 + draws)
        rows.append((name, difference, low, high, min(p, 1.0), len(both)))
    table = pd.DataFrame(rows, columns=COLUMNS[2:])
    if both["unit"].is_unique and np.bincount(labels).min() > 1:
        table.loc[table["metric"] == "auroc", "p"] = delong_p(*delong(labels, np.stack(pair)))
    return table


def delong(labels: NDArray, scores: Floats) -> tuple[Floats, Floats]:
    """AUROC (D,) and its covariance (D, D) of D detectors that scored the same N images, ``scores`` (D, N).

    From the placements of each fake among the reals and each real among the fakes, in O(N log N) (DeLong et al. 1988;
    Sun and Xu 2014). Either class needs two images.
    """
    fakes, reals = scores[:, labels == 1], scores[:, labels == 0]
    of_fakes = np.stack([_placements(fake, real) for fake, real in zip(fakes, reals, strict=True)])
    of_reals = 1 - np.stack([_placements(real, fake) for fake, real in zip(fakes, reals, strict=True)])
    covariance = np.cov(of_fakes) / fakes.shape[1] + np.cov(of_reals) / reals.shape[1]
    return of_fakes.mean(axis=1), np.atleast_2d(covariance)


def delong_p(aurocs: Floats, covariance: Floats) -> float:
    """The two-sided p of equal AUROC of two detectors, from ``delong``; 1 where nothing tells them apart."""
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= 0:
        return float(aurocs[0] == aurocs[1])
    return float(2 * ndtr(-abs(aurocs[0] - aurocs[1]) / np.sqrt(variance)))


def _placements(these: Floats, others: Floats) -> Floats:
    """For each of ``these`` the share of ``others`` that it exceeds, ties counting half."""
    others = np.sort(others)
    return (np.searchsorted(others, these, side="left") + np.searchsorted(others, these, side="right")) / (
        2 * len(others)
    )


def _paired(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    tests = [part[part["split"] == "test"] for part in (first, second)]
    tests = [test[test["view"] == default_view(test)] for test in tests]
    both = tests[0].merge(tests[1], on="path", suffixes=("_first", "_second"))
    alone = [len(test) - len(both) for test in tests]
    if any(alone):
        raise InputError(f"scored on different images: {alone[0]} only by the first, {alone[1]} only by the second")
    if num := int((both["label_first"] != both["label_second"]).sum()):
        raise InputError(f"{num} images have another label in the second")
    both = both[both["score_first"].notna() & both["score_second"].notna()].assign(label=both["label_first"])
    if both["label"].nunique() < 2:
        raise InputError("no readable images of both classes in common")
    group = both.filter(regex="^group(_first)?$")
    named = group.iloc[:, 0] if group.shape[1] else pd.Series("", both.index)
    return both.assign(unit=named.where(named != "", "\0" + both["path"])).sort_values("path")
