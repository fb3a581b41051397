"""What the experts say of images: their embeddings go through the row cache, their heads are a small product."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from aigid import store
from aigid.detectors.base.samples import judged
from aigid.detectors.base.scoring import frame
from aigid.detectors.featdistill.detector import FeatDistill, ensemble
from aigid.features.extract import Towers, extract
from aigid.features.reader import Sample

ENSEMBLE = "featdistill"
STREAMED = 32  # images of a batch at most where one expert is held at a time: a full-size one then takes 1.5 GB


class Said(NamedTuple):
    """By view and expert P(generated) (N,), NaN where the image failed; the images' ``status`` (N,); who failed."""

    scores: dict[str, dict[str, np.ndarray]]
    status: np.ndarray
    failed: list[Sample]


def say(
    detector: FeatDistill,
    images: pd.DataFrame,
    root: Path,
    views: Sequence[str],
    seed: int,
    loader: Towers | None = None,
) -> Said:
    """What each expert and the ensemble say of each view.

    With a ``loader``, which keeps the experts in memory, images are decoded once for all of them; without, one expert
    is in memory at a time, and images are decoded once for each, in batches of at most ``STREAMED``.
    """
    towers = {name: member.backbone() for name, member in detector.members.items()}
    scores: dict[str, dict[str, np.ndarray]] = {view: {} for view in views}
    status, failed = np.full(len(images), store.OK, dtype=object), {}
    for name, member in detector.members.items():
        others = [tower for other, tower in towers.items() if loader and other != name]
        extraction = extract(images, root, towers[name], views, seed, others, loader=loader or Towers(STREAMED))
        status = np.where(status == store.OK, np.array(extraction.status, dtype=object), status)
        failed |= {sample.place: sample for sample in extraction.failed}
        for view, rows in extraction.views.items():
            scores[view][name] = member.probabilities(rows)
    for found in scores.values():
        found[ENSEMBLE] = ensemble(found)
    return Said(scores, status, list(failed.values()))


def score(
    detector: FeatDistill, manifest: pd.DataFrame, root: Path, views: Sequence[str], seed: int, loader: Towers | None
) -> dict[str, pd.DataFrame]:
    """The scores files' rows of the ensemble and of each expert: each val and test image and view."""
    rows = judged(manifest)
    said = say(detector, rows.reset_index(drop=True), root, views, seed, loader)
    return {
        name: pd.concat([frame(rows, view, said.scores[view][name], said.status) for view in views], ignore_index=True)
        for name in (ENSEMBLE, *detector.members)
    }
