"""The table of a study of attacks, from the scores of attacked images."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding
from aigid.metrics import classification, intervals, resampling
from aigid.metrics.decisions import GENERATED, REAL

METRICS = ("auroc", "tpr_at_fpr5", "shift", "wrong", "uncertain")
COLUMNS = [
    *("source", "target", "attack", "strength", "images", "counted_as", "num"),
    *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
    "psnr",
]
N_BOOTSTRAP = 500


def summarize(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return ``COLUMNS``, a row for each attack, its source, the target and the class of the images.

    Of class ``images`` the attacked ones, ``num`` in number, are ranked against the other class as it is, or, counted
    as generated, against the photographs: AUROC and TPR at 5 % FPR. ``shift`` is the mean change of the score,
    ``wrong`` the share on the wrong side of the operating point, ``uncertain`` of verdicts that abstain; all with
    95 % intervals.
    """
    keys = ["attack", "strength", "source", "target", "label"]
    result = []
    for key, part in rows.groupby(keys, sort=False):
        cells: dict[str, Any] = dict(zip(keys, key, strict=True))
        truth = int(part["counted_as"].iloc[0])
        same = (rows["attack"] == "none") & (rows["target"] == cells["target"])
        others = rows[same & (rows["label"] == 1 - truth)]
        groups, after = part["group"].to_numpy(str), part["score"].to_numpy(np.float64)
        wrong = ((after <= part["threshold"]) == (truth == 1)).to_numpy()
        unsure = (part["side"] == 0).to_numpy()
        values = _ranking(after, others["score"].to_numpy(np.float64), truth,
                          np.concatenate([groups, others["group"].to_numpy(str)]), seed) | {
            "shift": _mean((part["score"] - part["clean"]).to_numpy(), groups, seed),
            "wrong": intervals.Interval(float(wrong.mean()), *intervals.wilson_interval(wrong, groups)),
            "uncertain": intervals.Interval(float(unsure.mean()), *intervals.wilson_interval(unsure, groups)),
        }  # fmt: skip
        numbers = {f"{name}{end}": number for name, value in values.items()
                   for end, number in zip(("", "_low", "_high"), value, strict=True)}  # fmt: skip
        names = {"images": (REAL, GENERATED)[int(cells["label"])], "counted_as": (REAL, GENERATED)[truth]}
        result.append(cells | names | numbers | {"num": len(part), "psnr": part["psnr"].mean()})
    return pd.DataFrame(result)[COLUMNS]


def _ranking(
    after: NDArray[np.floating], others: NDArray[np.floating], truth: int, groups: NDArray[Any], seed: int
) -> dict[str, intervals.Interval]:
    """Return AUROC and TPR at 5 % FPR of attacked images of a class among others of the other class."""
    scores = np.concatenate([after, others])
    labels = np.concatenate([np.full(len(after), truth), np.full(len(others), 1 - truth)])
    rng = np.random.default_rng(seeding.derive_seed("attack", seed))
    draws = resampling.bootstrap(resampling.population(labels, scores, None, groups), N_BOOTSTRAP, rng)
    ranking, num = classification.rank(labels, scores), intervals.num_independent(labels, groups)
    return {
        name: intervals.Interval(classification.RANKED[name](ranking), *intervals.interval(draws[name][:, 0], num))
        for name in METRICS[:2]
    }


def _mean(values: NDArray[np.floating], groups: NDArray[Any], seed: int) -> intervals.Interval:
    """Return the mean of values (N,) and its interval over bootstrap draws of whole groups."""
    clusters = intervals.number_clusters(groups)
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    rng = np.random.default_rng(seeding.derive_seed("attack", seed))
    counts = resampling.resample(np.zeros(len(sizes), np.int32), N_BOOTSTRAP, rng)
    draws = np.concatenate([chunk @ sums / (chunk @ sizes) for chunk in counts])
    return intervals.Interval(float(values.mean()), *intervals.interval(draws, len(sizes)))
