"""What the experts say of images: their embeddings go through the row cache, their heads are a small product."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aigid import store
from aigid.detectors.featdistill.detector import FeatDistill, ensemble
from aigid.detectors.scoring import frame, judged
from aigid.features.extract import extract

ENSEMBLE = "featdistill"
Said = dict[str, dict[str, np.ndarray]]  # by view and expert, (N,) P(generated), NaN where the image failed


def say(
    detector: FeatDistill, images: pd.DataFrame, root: Path, views: Sequence[str], seed: int, streamed: bool = False
) -> tuple[Said, np.ndarray, dict[str, str]]:
    """What each expert and the ensemble say of each view; every image's status; why images failed, by path.

    Images are decoded once for all experts, which are all in memory then; ``streamed``, one expert is at a time, and
    images are decoded once for each.
    """
    towers = {name: member.backbone() for name, member in detector.members.items()}
    said: Said = {view: {} for view in views}
    status, failed = np.full(len(images), store.OK, dtype=object), {}
    for name, member in detector.members.items():
        others = [] if streamed else [tower for other, tower in towers.items() if other != name]
        extraction = extract(images, root, towers[name], views, seed, others)
        status = np.where(status == store.OK, np.array(extraction.status, dtype=object), status)
        failed |= {sample.path: f"{sample.status}: {sample.message}" for sample in extraction.failed}
        for view, rows in extraction.views.items():
            said[view][name] = member.probabilities(rows)
    for found in said.values():
        found[ENSEMBLE] = ensemble(found)
    return said, status, failed


def score(
    detector: FeatDistill, manifest: pd.DataFrame, root: Path, views: Sequence[str], seed: int, streamed: bool = False
) -> dict[str, pd.DataFrame]:
    """The scores files' rows of the ensemble and of each expert: each val and test image and view."""
    rows = judged(manifest)
    said, status, _ = say(detector, rows.reset_index(drop=True), root, views, seed, streamed)
    return {
        name: pd.concat([frame(rows, view, said[view][name], status) for view in views], ignore_index=True)
        for name in (ENSEMBLE, *detector.members)
    }


def in_halves(
    detector: FeatDistill, manifest: pd.DataFrame, root: Path, views: Sequence[str], seed: int, streamed: bool = False
) -> dict[str, pd.DataFrame]:
    """As ``score``, of the test images as NTIRE shows them: half of them clean, the others in one of ``views``."""
    test = manifest[manifest["split"] == "test"]
    parts: dict[str, list[pd.DataFrame]] = {}
    for view, rows in halves(test, views):
        said, status, _ = say(detector, rows, root, [view], seed, streamed)
        for name, scores in said[view].items():
            parts.setdefault(name, []).append(frame(rows, view, scores, status))
    return {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}


def halves(images: pd.DataFrame, views: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The images by view: by their content, half of them ``clean``, the others shared out among ``views``."""
    number = images["sha256"].map(lambda digest: int(digest[:12], 16)).to_numpy()
    which = np.where(number % 2 == 0, 0, 1 + number // 2 % len(views))
    for place, view in enumerate(("clean", *views)):
        if (which == place).any():
            yield view, images[which == place].reset_index(drop=True)
