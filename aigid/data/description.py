"""The description of a dataset: the container of every image, and shallow cues of the pixels of some."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.base.params import Settings
from aigid.base.remote import Place
from aigid.data import traits
from aigid.data.audit import container, cues, sampling
from aigid.data.reading.errors import Unreadable


class DescriptionSettings(Settings):
    """How many images' pixels are looked at."""

    max_images: Annotated[int, Field(ge=1)]  # of each split


def describe(table: pd.DataFrame, root: Place, sample: int, seed: int) -> tuple[pd.DataFrame, list[Unreadable]]:
    """The traits of a manifest's images, row by row, and which images could not be read.

    ``path``, ``traits.CONTAINER`` and ``traits.SHALLOW``. The latter are empty but for ``sample`` images of each split,
    drawn evenly from classes and generators; everything is empty where an image has no header.
    """
    table, folder = table.reset_index(drop=True), str(root.resolve())
    headers, unreadable = container.describe(table["path"].tolist(), folder)
    line, readable = sampling.ranks(table, seed), headers.index.to_numpy()
    parts = [readable[(table["split"] == split).to_numpy()[readable]] for split in ("train", "val", "test")]
    drawn = np.sort(np.concatenate([sampling.draw(table, part, line, sample) for part in parts]))
    shallow, _, broken = cues.describe(table["path"].iloc[drawn].tolist(), folder, headers.loc[drawn])
    found = headers[[*traits.CONTAINER]].join(shallow[[*traits.SHALLOW]])
    return found.reindex(table.index).assign(path=table["path"])[["path", *found.columns]], unreadable + broken
