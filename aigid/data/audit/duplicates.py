"""Images that stand in a dataset twice, byte for byte or to the eye, and where the other one is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.data.audit import DuplicateGroups

# of 64 bits that may differ: JPEG, resizing and blur change fewer; no two of 7,000 photo tiles are so near
MAX_HAMMING = 4
MAX_EXAMPLES = 3
CHUNK = 2**24  # pairs compared at once


def exact_duplicates(table: pd.DataFrame) -> list[DuplicateGroups]:
    """Return images with equal ``sha256``, by what lies between them, which may be both splits and classes."""
    known = table[table["sha256"] != ""]
    same = known.groupby("sha256")
    splits, classes = (same[column].transform("nunique") > 1 for column in ("split", "label"))
    others = known["sha256"].duplicated(keep=False) & ~splits & ~classes
    result = []
    for across, rows in (("splits", splits), ("classes", classes), ("nothing", others)):
        sets = known[rows].groupby("sha256", sort=False)["path"]
        examples = [paths.tolist()[:MAX_EXAMPLES] for _, paths in list(sets)[:MAX_EXAMPLES]]
        result.append(DuplicateGroups("exact", across, int(rows.sum()), len(known), examples))
    return [copies for copies in result if copies.num_images]


def near_duplicates(table: pd.DataFrame, hashes: NDArray[np.uint64]) -> list[DuplicateGroups]:
    """Return images of other bytes whose hashes (M,) differ in at most ``MAX_HAMMING`` bits; 0 is no hash."""
    pairs_by_relation: dict[str, list[tuple[int, int]]] = {"splits": [], "classes": [], "group": [], "nothing": []}
    for start, relations in _compare(table, hashes):
        for across, pairs in relations.items():
            rows = np.flatnonzero(pairs.any(axis=1))
            pairs_by_relation[across] += zip((rows + start).tolist(), pairs[rows].argmax(axis=1).tolist(), strict=True)
    paths, searched = table["path"].to_numpy(), int((hashes != 0).sum())
    return [
        DuplicateGroups("near", across, len(pairs), searched, _examples(pairs, paths))
        for across, pairs in pairs_by_relation.items()
        if pairs
    ]


def groups_across_splits(table: pd.DataFrame) -> list[str]:
    """Return the groups that stand in more than one split."""
    if "group" not in table:
        return []
    splits = table[table["group"] != ""].groupby("group")["split"].nunique()
    return splits.index[splits > 1].tolist()


def _compare(table: pd.DataFrame, hashes: NDArray[np.uint64]) -> Iterator[tuple[int, dict[str, NDArray[np.bool_]]]]:
    """Yield by chunks of rows: the first row, and for each relation which of all images stand in it, (rows, M)."""
    label, split, content = table["label"].to_numpy(), *(pd.factorize(table[c])[0] for c in ("split", "sha256"))
    group = pd.factorize(table["group"].replace("", np.nan))[0] if "group" in table else np.full(len(table), -1)
    step = max(CHUNK // max(len(table), 1), 1)
    for start in range(0, len(table), step):
        chunk = slice(start, start + step)

        def equal(values: NDArray[Any], chunk: slice = chunk) -> NDArray[np.bool_]:
            return np.asarray(values[chunk, None] == values)

        close = (np.bitwise_count(hashes[chunk, None] ^ hashes) <= MAX_HAMMING) & ~equal(content)
        close &= (hashes[chunk, None] != 0) & (hashes != 0)
        grouped = equal(group) & (group >= 0)
        apart = close & ~grouped
        relations = {"splits": apart & ~equal(split), "classes": apart & ~equal(label), "group": close & grouped}
        yield start, relations | {"nothing": apart & equal(split) & equal(label)}


def _examples(pairs: list[tuple[int, int]], paths: NDArray[Any]) -> list[list[str]]:
    firsts = [pair for pair in pairs if pair[0] < pair[1]] or pairs
    return [[str(paths[row]) for row in pair] for pair in firsts[:MAX_EXAMPLES]]
