"""From a model and an embedded dataset to the scores file's rows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from aigid import store
from aigid.detectors.base.models import Model, require_same_backbone
from aigid.detectors.base.protocol import Attributor, Detector
from aigid.detectors.base.rows import EmbeddedDataset

BLOCK = 8192  # rows in memory at a time
KEPT = ("path", "label", "generator", "split")
KEPT_IF_THERE = ("source", "group")


def score(model: Model, dataset: EmbeddedDataset) -> pd.DataFrame:
    """One row for each val and test image and view; an image without an embedding has a status and no score."""
    require_same_backbone(model, dataset)
    rows = judged(dataset.manifest)
    return pd.concat([_score_view(model.detector, dataset, rows, view) for view in dataset.views], ignore_index=True)


def validate(detector: Detector, dataset: EmbeddedDataset) -> pd.DataFrame | None:
    """The clean validation images' rows, for the bundle; None where there are none."""
    rows = dataset.manifest[dataset.manifest["split"] == "val"]
    return None if rows.empty else _score_view(detector, dataset, rows, dataset.views[0])


def frame(manifest: pd.DataFrame, view: str, scores: np.ndarray, status: np.ndarray) -> pd.DataFrame:
    """The scores file's rows of one view: a manifest's rows with their scores (N,), NaN where the status is not ok."""
    columns = [*KEPT, *(column for column in KEPT_IF_THERE if column in manifest)]
    table = manifest[columns].reset_index(drop=True)
    table.insert(len(KEPT), "view", view)
    table.insert(len(KEPT) + 1, "score", scores)
    return table.assign(status=status)


def attributed_frame(
    manifest: pd.DataFrame, view: str, probabilities: np.ndarray, classes: list[str], status: np.ndarray
) -> pd.DataFrame:
    """As ``frame``, with a column ``class_<name>`` for each column of ``probabilities`` (N, K); class 0 is real."""
    named = dict(zip((f"class_{name}" for name in classes), probabilities.T, strict=True))
    return frame(manifest, view, generated(probabilities), status).assign(**named)


def generated(probabilities: np.ndarray) -> np.ndarray:
    """P(generated) (N,): what P(real), the first column of (N, K), leaves."""
    return np.clip(1 - probabilities[:, 0], 0, 1)


def judged(manifest: pd.DataFrame) -> pd.DataFrame:
    """The rows that a scores file has: those of val and test."""
    return manifest[manifest["split"] != "train"]


def _score_view(detector: Detector, dataset: EmbeddedDataset, rows: pd.DataFrame, view: str) -> pd.DataFrame:
    places = rows.index.to_numpy()
    status = dataset.status[places]
    good = np.flatnonzero(status == store.OK)
    if isinstance(detector, Attributor):
        found = np.full((len(places), len(detector.classes)), np.nan)
        for block in _blocks(good):
            found[block] = detector.probabilities(dataset.embeddings(view, places[block]))
        return attributed_frame(rows, view, found, detector.classes, status)
    scores = np.full(len(places), np.nan)
    for block in _blocks(good):
        scores[block] = detector.score(dataset.embeddings(view, places[block]))
    return frame(rows, view, scores, status)


def _blocks(places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), BLOCK):
        yield places[start : start + BLOCK]
