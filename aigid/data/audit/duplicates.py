"""Images that stand in a dataset twice, byte for byte or to the eye, and where the other one is."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.data.audit.schema import DuplicateGroups

MAX_HAMMING = (
    4  # of 64 bits that may differ: JPEG, resizing and blur change fewer; no two of 7,000 photo tiles are so near
)
MAX_EXAMPLES = 3
CHUNK = 2**24  # pairs compared at once


def exact_duplicates(table: pd.DataFrame) -> list[DuplicateGroups]:
    """Images with equal ``sha256``, by what lies between them; one may count across splits and across classes."""
    known = table[table["sha256"] != ""]
    same = known.groupby("sha256")
    splits, classes = (same[column].transform("nunique") > 1 for column in ("split", "label"))
    others = known["sha256"].duplicated(keep=False) & ~splits & ~classes
    found = []
    for across, rows in (("splits", splits), ("classes", classes), ("nothing", others)):
        sets = known[rows].groupby("sha256", sort=False)["path"]
        examples = [paths.tolist()[:MAX_EXAMPLES] for _, paths in list(sets)[:MAX_EXAMPLES]]
        found.append(DuplicateGroups("exact", across, int(rows.sum()), len(known), examples))
    return [copies for copies in found if copies.num_images]


def near_duplicates(table: pd.DataFrame, hashes: NDArray[np.uint64]) -> list[DuplicateGroups]:
    """Images whose perceptual hashes (M,) differ in at most ``NEAR`` bits though their bytes differ; 0 is no hash."""
    found: dict[str, list[tuple[int, int]]] = {"splits": [], "classes": [], "group": [], "nothing": []}
    for start, relations in _compare(table, hashes):
        for across, pairs in relations.items():
            rows = np.flatnonzero(pairs.any(axis=1))
            found[across] += zip((rows + start).tolist(), pairs[rows].argmax(axis=1).tolist(), strict=True)
    paths, searched = table["path"].to_numpy(), int((hashes != 0).sum())
    return [
        DuplicateGroups("near", across, len(pairs), searched, _examples(pairs, paths))
        for across, pairs in found.items()
        if pairs
    ]


def groups_across_splits(table: pd.DataFrame) -> list[str]:
    """The groups that stand in more than one split."""
    if "group" not in table:
        return []
    splits = table[table["group"] != ""].groupby("group")["split"].nunique()
    return splits.index[splits > 1].tolist()


def _compare(table: pd.DataFrame, hashes: NDArray[np.uint64]) -> Iterator[tuple[int, dict[str, NDArray[np.bool_]]]]:
    """Row by row in chunks: the first row, and for each relation which of all images stand in it, (rows, M)."""
    label, split, content = table["label"].to_numpy(), *(pd.factorize(table[c])[0] for c in ("split", "sha256"))
    group = pd.factorize(table["group"].replace("", np.nan))[0] if "group" in table else np.full(len(table), -1)
    step = max(CHUNK // max(len(table), 1), 1)
    for start in range(0, len(table), step):
        own = slice(start, start + step)

        def equal(values: NDArray, own: slice = own) -> NDArray[np.bool_]:
            return values[own, None] == values

        close = (np.bitwise_count(hashes[own, None] ^ hashes) <= MAX_HAMMING) & ~equal(content)
        close &= (hashes[own, None] != 0) & (hashes != 0)
        grouped = equal(group) & (group >= 0)
        apart = close & ~grouped
        yield (
            start,
            {
                "splits": apart & ~equal(split),
                "classes": apart & ~equal(label),
                "group": close & grouped,
                "nothing": apart & equal(split) & equal(label),
            },
        )


def _examples(pairs: list[tuple[int, int]], paths: NDArray) -> list[list[str]]:
    firsts = [pair for pair in pairs if pair[0] < pair[1]] or pairs
    return [[str(paths[row]) for row in pair] for pair in firsts[:MAX_EXAMPLES]]
