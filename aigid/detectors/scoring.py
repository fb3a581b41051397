"""From a model and samples to the scores file's rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.detectors.bundle import Bundle, require_same
from aigid.detectors.protocol import Detector, Floats
from aigid.detectors.samples import Samples

MANIFEST_COLUMNS = ("path", "label", "generator", "split")
OPTIONAL_COLUMNS = ("source", "group")


def score(model: Bundle, samples: Samples, views: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row for each val and test image and view; an image without a score has a status that says why.

    ``views`` defaults to those of the embeddings. InputError where the samples are not such as the model was trained
    on.
    """
    require_same(model, samples)
    return score_views(model.detector, samples.subset("val", "test"), views or samples.views)


def validate(detector: Detector, samples: Samples) -> pd.DataFrame | None:
    """Return the clean validation images' rows, for the bundle; None where there are none."""
    validation = samples.subset("val")
    return None if validation.table.empty else score_views(detector, validation, samples.views[:1] or ["clean"])


def score_views(detector: Any, samples: Samples, views: Sequence[str]) -> pd.DataFrame:
    """Return the scores file's rows of all samples, one view below the other."""
    result = detector.score(samples, views)
    parts = []
    for view, values in result.values.items():
        if values.ndim == 2:
            parts.append(class_scores_frame(samples.table, view, values, detector.classes, result.status))
        else:
            parts.append(scores_frame(samples.table, view, values, result.status))
    return pd.concat(parts, ignore_index=True)


def scores_frame(manifest: pd.DataFrame, view: str, scores: Floats, status: NDArray[Any] | str) -> pd.DataFrame:
    """Return a manifest's rows in one view with their scores (N,), NaN where the status (N,) is not ok."""
    columns = [*MANIFEST_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in manifest)]
    table = manifest[columns].reset_index(drop=True)
    table.insert(len(MANIFEST_COLUMNS), "view", view)
    table.insert(len(MANIFEST_COLUMNS) + 1, "score", scores)
    return table.assign(status=status)


def class_scores_frame(
    manifest: pd.DataFrame, view: str, probabilities: Floats, classes: list[str], status: NDArray[Any]
) -> pd.DataFrame:
    """As `scores_frame`, with a column ``class_<name>`` for each of ``probabilities`` (N, K); class 0 is real."""
    columns = dict(zip((f"class_{name}" for name in classes), probabilities.T, strict=True))
    return scores_frame(manifest, view, p_generated(probabilities), status).assign(**columns)


def p_generated(probabilities: Floats) -> Floats:
    """Return 1 - P(real), (N,) in [0, 1], P(real) being the first column of (N, K)."""
    return np.clip(1 - probabilities[:, 0], 0, 1)
