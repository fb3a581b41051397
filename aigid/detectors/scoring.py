"""From a model and an embedded dataset to the scores file's rows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from aigid import store
from aigid.detectors.models import Model, require_same_backbone
from aigid.detectors.rows import EmbeddedDataset

BLOCK = 8192  # rows in memory at a time
KEPT = ("path", "label", "generator", "split")
KEPT_IF_THERE = ("source", "group")


def score(model: Model, dataset: EmbeddedDataset) -> pd.DataFrame:
    """One row for each val and test image and view; an image without an embedding has a status and no score."""
    require_same_backbone(model, dataset)
    return pd.concat([_score_view(model, dataset, view) for view in dataset.views], ignore_index=True)


def _score_view(model: Model, dataset: EmbeddedDataset, view: str) -> pd.DataFrame:
    judged = np.flatnonzero((dataset.manifest["split"] != "train").to_numpy())
    columns = [*KEPT, *(column for column in KEPT_IF_THERE if column in dataset.manifest)]
    table = dataset.manifest.iloc[judged][columns].reset_index(drop=True)
    scores = np.full(len(judged), np.nan)
    status = dataset.status[judged]
    for block in _blocks(np.flatnonzero(status == store.OK)):
        scores[block] = model.detector.score(dataset.embeddings(view, judged[block]))
    table.insert(len(KEPT), "view", view)
    table.insert(len(KEPT) + 1, "score", scores)
    return table.assign(status=status)


def _blocks(places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), BLOCK):
        yield places[start : start + BLOCK]
