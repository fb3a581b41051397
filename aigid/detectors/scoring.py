"""From a model and samples to the scores file's rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aigid.detectors.bundle import Bundle, require_same
from aigid.detectors.protocol import Detector
from aigid.detectors.samples import Samples

MANIFEST_COLUMNS = ("path", "label", "generator", "split")
OPTIONAL_COLUMNS = ("source", "group")


def score(model: Bundle, samples: Samples, views: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row for each val and test image and view; an image without a score has a status that says why.

    ``views`` are those that the embeddings have, where none are named. InputError where the samples are not such as
    the model was trained on.
    """
    require_same(model, samples)
    return frames(model.detector, samples.judged(), views or samples.views)


def validate(detector: Detector, samples: Samples) -> pd.DataFrame | None:
    """Return the clean validation images' rows, for the bundle; None where there are none."""
    held = samples.split("val")
    return None if held.table.empty else frames(detector, held, samples.views[:1] or ["clean"])


def frames(detector: Detector, samples: Samples, views: Sequence[str]) -> pd.DataFrame:
    """Return the scores file's rows of all samples, one view below the other."""
    result = detector.score(samples, views)
    parts = []
    for view, values in result.values.items():
        if values.ndim == 2:
            parts.append(class_scores_frame(samples.table, view, values, detector.classes, result.status))
        else:
            parts.append(scores_frame(samples.table, view, values, result.status))
    return pd.concat(parts, ignore_index=True)


def scores_frame(manifest: pd.DataFrame, view: str, scores: np.ndarray, status: np.ndarray) -> pd.DataFrame:
    """The scores file's rows of one view: a manifest's rows with their scores (N,), NaN where the status is not ok."""
    columns = [*MANIFEST_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in manifest)]
    table = manifest[columns].reset_index(drop=True)
    table.insert(len(MANIFEST_COLUMNS), "view", view)
    table.insert(len(MANIFEST_COLUMNS) + 1, "score", scores)
    return table.assign(status=status)


def class_scores_frame(
    manifest: pd.DataFrame, view: str, probabilities: np.ndarray, classes: list[str], status: np.ndarray
) -> pd.DataFrame:
    """As ``frame``, with a column ``class_<name>`` for each column of ``probabilities`` (N, K); class 0 is real."""
    named = dict(zip((f"class_{name}" for name in classes), probabilities.T, strict=True))
    return scores_frame(manifest, view, p_generated(probabilities), status).assign(**named)


def p_generated(probabilities: np.ndarray) -> np.ndarray:
    """P(generated) (N,): what P(real), the first column of (N, K), leaves."""
    return np.clip(1 - probabilities[:, 0], 0, 1)
