"""DDA's numbers (Chen et al., NeurIPS 2025): subsets, benchmarks, and the headline over benchmarks.

A subset's score is the mean of the recalls of reals and fakes at 0.5; a benchmark's is the mean of its subsets', the
headline mean and minimum of the benchmarks'. Deviations are those of a sample (n - 1).
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN
from aigid.evaluation.subsets import by_test_set, of_view
from aigid.metrics import classification
from aigid.metrics.classification import rank_rows

VIEW, COMPRESSED = "jpeg96", ("genimage", "forensynths", "aigcdetectionbenchmark")  # of the fakes of these
FAKES_ALONE = "evalgen"
BENCHMARKS = (  # the eleven, as datasets are called here
    *("genimage", "drct2m", "dda_coco", "evalgen", "synthbuster", "forensynths", "aigcdetectionbenchmark"),
    *("chameleon", "synthwildx", "wildrf", "bfree_online"),
)


def dda(test: pd.DataFrame) -> dict[str, float]:
    """Return balanced accuracy at 0.5 of each subset, their mean and deviation; fakes are of the view ``jpeg96``.

    A column ``benchmark`` splits the rows: then ``benchmark_<name>`` is the mean of one, ``deviation_<name>`` and
    ``subset_<name>_<generator>`` what it is of, and ``mean_of_<n>``, ``min_of_<n>`` and ``deviation_of_<n>`` tell of
    all n. There fakes are re-compressed as published, those of three. EvalGEN, which has no reals, has its recall.
    """
    if "benchmark" not in test:
        scores = subset_scores(test, VIEW)
        return _summary(scores.values(), "balanced_acc", "deviation") | {
            f"balanced_acc_{name}": score for name, score in scores.items()
        }
    values: dict[str, float] = {}
    for name in sorted(test["benchmark"].astype("str").unique()):
        plain = re.sub(r"[^a-z]", "", name.lower())
        try:
            rows = test[test["benchmark"] == name]
            scores = subset_scores(rows, VIEW if plain in COMPRESSED else CLEAN, plain != FAKES_ALONE)
        except InputError as error:
            raise InputError(f"benchmark {name!r}: {error}") from None
        values |= _summary(scores.values(), f"benchmark_{name}", f"deviation_{name}")
        values |= {f"subset_{name}_{generator}": score for generator, score in scores.items()}
    means = [value for name, value in values.items() if name.startswith("benchmark_")]
    num = f"of_{len(means)}"
    return _summary(means, f"mean_{num}", f"deviation_{num}") | {f"min_{num}": min(means)} | values


def subset_scores(test: pd.DataFrame, view: str, require_reals: bool = True) -> dict[str, float]:
    """Return the score of each generator's fakes in a view, with the clean reals they are judged with."""
    fakes = of_view(test, view).query("label == 1")
    reals = test[(test["view"] == CLEAN) & (test["label"] == 0)]
    return {
        name: (classification.balanced_accuracy if ranking.has_both else classification.fake_accuracy)(ranking, 0.5)
        for name, part in by_test_set(pd.concat([reals, fakes]), require_reals)
        for ranking in [rank_rows(part)]
    }


def join_benchmarks(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Return the rows of those datasets that are DDA's benchmarks, with a column ``benchmark``; None without any."""
    parts = [frame.assign(benchmark=name) for name, frame in scores.items() if name in BENCHMARKS]
    return pd.concat(parts, ignore_index=True) if parts else None


def _summary(values: Iterable[float], mean: str, deviation: str) -> dict[str, float]:
    """Return the mean of some values, and of several the sample's deviation."""
    array = np.array(list(values))
    return {mean: float(array.mean())} | ({deviation: float(array.std(ddof=1))} if len(array) > 1 else {})
