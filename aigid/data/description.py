"""The description of a dataset: the container of every image, and shallow cues of the pixels of some."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.data.audit import audit
from aigid.images import Unreadable, properties


class PropertySettings(Settings):
    """How many images' pixels are looked at."""

    max_images: Annotated[int, Field(ge=1)]  # of each split


def compute_properties(
    table: pd.DataFrame, root: AnyPath, sample: int, seed: int
) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the properties of a manifest's images, row by row, and which images could not be read.

    The columns are ``path``, ``CONTAINER`` and ``SHALLOW``. The latter are empty but for ``sample`` images of each
    split, chosen evenly from classes and generators; everything is empty where an image has no header.
    """
    table, folder = table.reset_index(drop=True), str(root.resolve())
    priority, splits = audit.priorities(table, seed), table["split"].to_numpy()

    def draw(rows: np.ndarray) -> np.ndarray:
        parts = [rows[splits[rows] == split] for split in ("train", "val", "test")]
        return np.sort(np.concatenate([audit.sample(table, part, priority, sample) for part in parts]))

    inspected = properties.inspect(table["path"].tolist(), folder, draw)
    known = inspected.headers[[*properties.CONTAINER]].join(inspected.cues[[*properties.SHALLOW]])
    return known.reindex(table.index).assign(path=table["path"])[["path", *known.columns]], inspected.unreadable
