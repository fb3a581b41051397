"""Which generators teach a detector to see which others: it is fitted anew on one, and on all but one, of them."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.core import seeding
from aigid.core.embeddings import OK
from aigid.core.params import Settings
from aigid.data.audit.audit import priorities, sample
from aigid.detectors.protocol import Detector
from aigid.detectors.samples import LabeledEmbeddings, Samples
from aigid.metrics import intervals

COLUMNS = ["trained_on", "tested_on", "seen", "auroc", "low", "high", "num_real", "num_fake"]


class CrossingSettings(Settings):
    """How much each of the many fits may cost."""

    max_images: Annotated[int, Field(ge=2)] = 20_000  # training images of a fit, even over classes and generators


def cross_generator_auroc(
    kind: type[Detector], settings: object, dataset: Samples, most: int, seed: int
) -> pd.DataFrame:
    """One row a set of training generators and a test generator, with ``COLUMNS``: AUROC and its 95 % interval.

    ``trained_on`` is ``all``, ``only <generator>`` or ``all but <generator>``; ``seen`` says whether the test
    generator was in training. The reals are always the same. With one generator in training there is nothing to cross,
    and ``all`` stands alone.
    """
    table, ok = dataset.table, dataset.status == OK
    fakes = table[(table["label"] == 1) & (table["split"] == "train") & ok]
    everything = sorted(fakes["generator"].unique())
    line, test = priorities(table, seed), np.flatnonzero((table["split"] == "test").to_numpy() & ok)
    x = dataset.embeddings("clean", test)
    rows = []
    for name, generators in _sets(everything):
        train, val = (_rows(dataset, split, generators, line, most) for split in ("train", "val"))
        scores = kind.fit(settings, train, val, seed).p_generated(x)
        for tested, values in _judge(table.iloc[test], scores, seed):
            rows.append({"trained_on": name, "tested_on": tested, "seen": int(tested in generators), **values})
    return pd.DataFrame(rows, columns=COLUMNS)


def _sets(generators: list[str]) -> Iterator[tuple[str, list[str]]]:
    yield "all", generators
    if len(generators) > 1:
        yield from ((f"only {one}", [one]) for one in generators)
    if len(generators) > 2:  # of two, all but one is only the other
        yield from ((f"all but {one}", [other for other in generators if other != one]) for one in generators)


def _rows(dataset: Samples, split: str, generators: list[str], line: np.ndarray, most: int) -> LabeledEmbeddings:
    """The readable reals of a split and its fakes by ``generators``; all fakes of val where it has none of these."""
    table = dataset.table
    own = (table["split"] == split).to_numpy() & (dataset.status == OK)
    chosen = own & table["generator"].isin(["real", *generators]).to_numpy()
    if split == "val" and not (chosen & (table["label"] == 1).to_numpy()).any():
        chosen = own
    places = sample(table, np.flatnonzero(chosen), line, most)
    return LabeledEmbeddings(dataset.embeddings("clean", places), table["label"].to_numpy()[places])


def _judge(test: pd.DataFrame, scores: np.ndarray, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """AUROC of each generator's fakes against all reals, with a bootstrap over whole groups."""
    labels, parts = test["label"].to_numpy(), test["generator"].to_numpy(str)
    seed = seeding.derive_seed("crossing", seed)
    found = intervals.auroc_intervals(labels, scores, intervals.group_names(test), seed, parts)
    for name, (value, low, high) in found.items():
        counts = {"num_real": int((labels == 0).sum()), "num_fake": int((parts == name).sum())}
        yield name, {"auroc": value, "low": low, "high": high, **counts}
