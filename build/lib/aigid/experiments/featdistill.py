"""Clean and robust AUROC of each expert and of the ensemble, as NTIRE 2026 ranks them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.metrics import intervals

CLEAN = "clean"


def results_table(scores: Mapping[str, pd.DataFrame], manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return a row an expert: ``auroc_clean`` and ``auroc_robust`` with 95 % intervals over groups, and the counts."""
    digests = manifest.set_index("path")["sha256"]
    return pd.DataFrame(
        [{"expert": name, **degraded_metrics(split_by_hash(rows, digests), seed)} for name, rows in scores.items()]
    )


def split_by_hash(scores: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """Return the test images as in NTIRE: half of them, chosen by content, clean, each other in one other view.

    ``scores`` has every image in every view; ``digests`` are the images' sha256 by path.
    """
    test = scores[scores["split"] == "test"]
    others = sorted(set(test["view"]) - {CLEAN})
    number = test["path"].map(digests).map(lambda digest: int(digest[:12], 16)).to_numpy()
    which = np.where((number % 2 == 0) | (not others), 0, 1 + number // 2 % max(len(others), 1))
    return test[np.array([CLEAN, *others], object)[which] == test["view"]].reset_index(drop=True)


def degraded_metrics(scores: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return AUROC and counts of all undistorted and of all distorted images; an image without a score is left out."""
    result: dict[str, float] = {}
    known = scores[scores["score"].notna()]
    for name, part in (("clean", known[known["view"] == CLEAN]), ("robust", known[known["view"] != CLEAN])):
        value, low, high = _auroc(part, seed)
        result |= {f"auroc_{name}": value, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
        result |= {f"num_{kind}_{name}": int((part["label"] == y).sum()) for kind, y in (("real", 0), ("fake", 1))}
    return result


def _auroc(part: pd.DataFrame, seed: int) -> tuple[float, float, float]:
    labels = part["label"].to_numpy()
    if len(set(labels)) < 2:
        return (np.nan,) * 3
    seed, scores = seeding.derive_seed("featdistill halves", seed), part["score"].to_numpy()
    return intervals.auroc_interval(labels, scores[None], intervals.group_names(part), seed)[0]
