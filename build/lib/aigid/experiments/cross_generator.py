"""AUROC on each generator's fakes of a detector trained on one generator, and on all but one."""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from aigid.core import seeding
from aigid.core.embeddings import OK
from aigid.core.params import Settings
from aigid.data.audit.audit import priorities, sample
from aigid.detectors.samples import Floats, LabeledEmbeddings, Samples
from aigid.metrics import intervals

COLUMNS = ["trained_on", "tested_on", "seen", "auroc", "low", "high", "num_real", "num_fake"]


class CrossingSettings(Settings):
    """How much each of the many fits may cost."""

    max_images: Annotated[int, Field(ge=2)] = 20_000  # training images of a fit, even over classes and generators


def cross_generator_auroc(
    detector_class: type[Any], settings: Any, dataset: Samples, max_rows: int, seed: int
) -> pd.DataFrame:
    """Return ``COLUMNS``, a row for each set of training generators and test generator: AUROC and 95 % interval.

    ``trained_on`` is ``all``, ``only <generator>`` or ``all but <generator>``; ``seen`` says whether the test
    generator was in training. The reals are always the same. With one generator in training there is only ``all``.
    """
    table, ok = dataset.table, dataset.status == OK
    fakes = table[(table["label"] == 1) & (table["split"] == "train") & ok]
    trained = sorted(fakes["generator"].unique())
    priority, test = priorities(table, seed), np.flatnonzero((table["split"] == "test").to_numpy() & ok)
    x = dataset.embeddings("clean", test)
    rows = []
    for name, generators in _sets(trained):
        train, val = (_rows(dataset, split, generators, priority, max_rows) for split in ("train", "val"))
        scores = detector_class.fit(settings, train, val, seed).p_generated(x)
        for tested, values in _evaluate(table.iloc[test], scores, seed):
            rows.append({"trained_on": name, "tested_on": tested, "seen": int(tested in generators), **values})
    return pd.DataFrame(rows, columns=COLUMNS)


def _sets(generators: list[str]) -> Iterator[tuple[str, list[str]]]:
    yield "all", generators
    if len(generators) > 1:
        yield from ((f"only {name}", [name]) for name in generators)
    if len(generators) > 2:  # of two, all but one is only the other
        yield from ((f"all but {name}", [other for other in generators if other != name]) for name in generators)


def _rows(
    dataset: Samples, split: str, generators: list[str], priority: NDArray[np.int64], max_rows: int
) -> LabeledEmbeddings:
    """Return the readable reals of a split and its fakes by ``generators``; all of val where it has none of these."""
    table = dataset.table
    readable = (table["split"] == split).to_numpy() & (dataset.status == OK)
    chosen = readable & table["generator"].isin(["real", *generators]).to_numpy()
    if split == "val" and not (chosen & (table["label"] == 1).to_numpy()).any():
        chosen = readable
    indices = sample(table, np.flatnonzero(chosen), priority, max_rows)
    return LabeledEmbeddings(dataset.embeddings("clean", indices), table["label"].to_numpy()[indices])


def _evaluate(test: pd.DataFrame, scores: Floats, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the AUROC of each generator's fakes against all reals, with a bootstrap over groups."""
    labels, parts = test["label"].to_numpy(), test["generator"].to_numpy(str)
    seed = seeding.derive_seed("crossing", seed)
    results = intervals.auroc_intervals(labels, scores, intervals.group_names(test), seed, parts)
    for name, (value, low, high) in results.items():
        counts = {"num_real": int((labels == 0).sum()), "num_fake": int((parts == name).sum())}
        yield name, {"auroc": value, "low": low, "high": high, **counts}
