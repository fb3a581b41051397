"""Compare detectors on the same images, in pairs, and with negative controls: detectors that must fail.

Where a control succeeds, the dataset gives the answer away.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.scores import default_view
from aigid.core.special import normal_cdf
from aigid.evaluation import cautions
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics import intervals, resampling
from aigid.metrics.classification import RANKED, Floats, rank

COLUMNS = ["first", "second", "metric", "difference", "low", "high", "p", "num_images"]
CHANCE_CONTROLS = ("control_shuffled", "control_noise", "control_container")  # see labels or pixels that say nothing
SHALLOW = "control_shallow"  # sees cues that have nothing to do with generation
CONTROLS = (*CHANCE_CONTROLS, SHALLOW)
CHANCE = 0.6  # AUROC up to which a chance control passes
Results = Mapping[str, EvaluationResult]  # by detector, on one dataset


def compare_all(
    scores: Mapping[str, pd.DataFrame],
    seed: int = 0,
    n_bootstrap: int = resampling.N_BOOTSTRAP,
    versions: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return ``compare`` of every two detectors as one table, and a line for each pair that cannot be compared.

    ``versions`` are those of ``scores.read_versions``: what two files mean by the view must be one thing.
    """
    tables, refused = [pd.DataFrame(columns=COLUMNS)], []
    for a, b in combinations(scores, 2):
        try:
            known = versions or {}
            cautions.require_same_view(known.get(a, {}), known.get(b, {}), default_view(scores[a]))
            table = compare(scores[a], scores[b], seed, n_bootstrap)
        except InputError as error:
            refused.append(f"{a} and {b}: {error}")
        else:
            tables.append(table.assign(first=a, second=b)[COLUMNS])
    return pd.concat(tables[1:] or tables, ignore_index=True), refused


def compare(a: pd.DataFrame, b: pd.DataFrame, seed: int = 0, n_bootstrap: int = resampling.N_BOOTSTRAP) -> pd.DataFrame:
    """Return, per ranking metric, ``difference`` (a - b), its interval ``low, high``, ``p`` and ``num_images``.

    Both are checked scores whose test rows of the headline view are the same images; what either could not read is
    left out. The interval and ``p`` are those of a paired bootstrap, but for AUROC of images without groups, where
    ``p`` is DeLong's. InputError where the images or their labels differ.
    """
    both = _paired(a, b)
    labels, groups = both["label"].to_numpy(), both["cluster"].to_numpy()
    n_bootstrap = resampling.limit_draws(n_bootstrap, len(both))
    pair, draws = [both[side].to_numpy() for side in ("score_a", "score_b")], []
    for scores in pair:
        sample = resampling.population(labels, scores, groups=groups)
        draws.append(resampling.bootstrap(sample, n_bootstrap, seeding.numpy_generator("compare", seed)))
    rows = []
    for name, metric in RANKED.items():
        difference = metric(rank(labels, pair[0])) - metric(rank(labels, pair[1]))
        differences = (draws[0][name] - draws[1][name])[:, 0]
        low, high = intervals.interval(differences, intervals.num_independent(labels, groups))
        p = 2 * (1 + min(np.sum(differences <= 0), np.sum(differences >= 0))) / (1 + n_bootstrap)
        rows.append((name, difference, low, high, min(p, 1.0), len(both)))
    table = pd.DataFrame(rows, columns=COLUMNS[2:])
    if both["cluster"].is_unique and np.bincount(labels).min() > 1:
        table.loc[table["metric"] == "auroc", "p"] = delong_p(*delong(labels, np.stack(pair)))
    return table


def delong(labels: NDArray[np.int64], scores: Floats) -> tuple[Floats, Floats]:
    """Return AUROC (D,) and its covariance (D, D) of D detectors that scored the same N images, ``scores`` (D, N).

    From the placements of each fake among the reals and each real among the fakes, in O(N log N) (DeLong et al. 1988;
    Sun and Xu 2014). Either class needs two images.
    """
    fakes, reals = scores[:, labels == 1], scores[:, labels == 0]
    of_fakes = np.stack([_placements(fake, real) for fake, real in zip(fakes, reals, strict=True)])
    of_reals = 1 - np.stack([_placements(real, fake) for fake, real in zip(fakes, reals, strict=True)])
    covariance = np.cov(of_fakes) / fakes.shape[1] + np.cov(of_reals) / reals.shape[1]
    return of_fakes.mean(axis=1), np.atleast_2d(covariance)


def delong_p(aurocs: Floats, covariance: Floats) -> float:
    """Return the two-sided p of equal AUROC of two detectors, from ``delong``; 1 where they do not differ at all."""
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= 0:
        return float(aurocs[0] == aurocs[1])
    return 2 * normal_cdf(-abs(aurocs[0] - aurocs[1]) / np.sqrt(variance))


def _placements(positives: Floats, negatives: Floats) -> Floats:
    """Return, for each positive, the share of negatives that it exceeds, ties counting half."""
    negatives = np.sort(negatives)
    below, up_to = (np.searchsorted(negatives, positives, side=side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(negatives))


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    tests = [part[part["split"] == "test"] for part in (a, b)]
    tests = [test[test["view"] == default_view(test)] for test in tests]
    both = tests[0].merge(tests[1], on="path", suffixes=("_a", "_b"))
    alone = [len(test) - len(both) for test in tests]
    if any(alone):
        raise InputError(f"scored on different images: {alone[0]} only by the first, {alone[1]} only by the second")
    if num := int((both["label_a"] != both["label_b"]).sum()):
        raise InputError(f"{num} images have another label in the second")
    both = both[both["score_a"].notna() & both["score_b"].notna()].assign(label=both["label_a"])
    if both["label"].nunique() < 2:
        raise InputError("no readable images of both classes in common")
    group = both.filter(regex="^group(_a)?$")
    named = group.iloc[:, 0] if group.shape[1] else pd.Series("", both.index)
    return both.assign(cluster=named.where(named != "", "\0" + both["path"])).sort_values("path")


def non_controls(results: Results) -> Results:
    """Return the detectors that are no controls; all where there is nothing else."""
    return {name: result for name, result in results.items() if name not in CONTROLS} or results


def control_warnings(results: Results) -> list[str]:
    """Return a line per chance control above chance and per detector no better than the shallow cues."""
    auroc = {name: result.metrics["auroc"] for name, result in results.items() if "auroc" in result.metrics}
    leaks = [
        f"{name} reaches AUROC {auroc[name]:.3f}, above the {CHANCE} of honest data: something leaks the label"
        for name in CHANCE_CONTROLS
        if auroc.get(name, 0) > CHANCE
    ]
    weak = [
        f"{name} does not beat the shallow cues: AUROC {auroc[name]:.3f} against {auroc[SHALLOW]:.3f}"
        for name in results
        if beats_shallow(results, name) == "no"
    ]
    return leaks + weak


def beats_shallow(results: Results, name: str) -> str:
    """Return ``yes``, ``no``, ``not surely`` where its AUROC's interval contains that of the shallow cues, or ``-``."""
    value, shallow = (results[key].metrics.get("auroc") if key in results else None for key in (name, SHALLOW))
    if value is None or shallow is None or name in CONTROLS:
        return "-"
    rows = results[name].parts("all")
    low = rows["auroc_low"].iloc[0] if len(rows) else value
    return "no" if value <= shallow else "not surely" if low <= shallow else "yes"
