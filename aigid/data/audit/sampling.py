"""Which rows an audit looks at: the parts it judges apart, and a fair sample of each."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.base.seeding import seed_of

Rows = NDArray[np.int64]  # positions in the manifest


def parts(table: pd.DataFrame) -> Iterator[tuple[str, str, Rows]]:
    """Kind, name and rows of all images, of each split, and of each generator beside the reals that it is judged with.

    Those are the reals of its splits, and only those of its ``source`` where reals of its source are there.
    """
    yield "all", "all", np.arange(len(table))
    for split in table["split"].unique():
        yield "split", split, np.flatnonzero(table["split"] == split)
    is_real = (table["label"] == 0).to_numpy()
    for generator in sorted(table["generator"][~is_real].unique()):
        fakes = (table["generator"] == generator).to_numpy()
        reals = is_real & table["split"].isin(table["split"][fakes].unique()).to_numpy()
        if "source" in table:
            paired = reals & (table["source"] != "") & table["source"].isin(table["source"][fakes].unique())
            reals = paired.to_numpy() if paired.any() else reals
        yield "generator", generator, np.flatnonzero(fakes | reals)


def ranks(table: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """A place in line (N,) for each row, drawn by the seed and its path, whatever other rows there are."""
    return np.array([seed_of("audit", seed, path.encode(errors="backslashreplace").decode()) for path in table["path"]])


def draw(table: pd.DataFrame, rows: Rows, line: NDArray[np.int64], num: int) -> Rows:
    """At most ``num`` of the ``rows``, in manifest order, as even over classes as they allow.

    Within a class they are as even over splits and generators; of these, those that come first in ``line``.
    """
    if len(rows) <= num:
        return rows
    part = table.iloc[rows][["label", "split", "generator"]].assign(line=line[rows], row=rows).sort_values("line")
    part["turn"] = part.groupby(["label", "split", "generator"]).cumcount()
    part = part.sort_values(["turn", "line"])
    part["turn"] = part.groupby("label").cumcount()
    return np.sort(part.sort_values("turn", kind="stable")["row"].to_numpy()[:num])


def units(table: pd.DataFrame) -> NDArray[np.int64]:
    """The unit (N,) of each row: rows of one ``group``, else of one ``sha256``, belong together."""
    names = "path " + table["path"]
    for column in ("sha256", "group"):
        if column in table:
            names = names.where(table[column] == "", f"{column} " + table[column])
    return pd.factorize(names)[0]
