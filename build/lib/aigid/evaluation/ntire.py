"""NTIRE 2026's ROC AUC of distorted and undistorted images, by our operators or by the organisers' own."""

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN, DISTORTIONS, IS_DISTORTED
from aigid.evaluation.subsets import of_view
from aigid.metrics import classification
from aigid.metrics.classification import rank_rows


def ntire(test: pd.DataFrame) -> dict[str, float]:
    """Return the AUROC over all images of other views than clean (robust), by our operators, and over clean ones."""
    distorted = test[test["view"] != CLEAN]
    if distorted.empty:
        raise InputError(f"protocol ntire: no view but {CLEAN!r}: robust AUROC needs distorted images")
    return {"auroc_robust": _auroc(distorted, "distorted"), "auroc_clean": _auroc(of_view(test, CLEAN), CLEAN)}


def ntire_test(test: pd.DataFrame) -> dict[str, float]:
    """Return the official AUROC of the images that the organisers distorted (robust) and of the others (clean).

    Of each set (column ``source``: val, val_hard, test), and of its images with each distortion that is named and has
    both classes.
    """
    if IS_DISTORTED not in test:
        raise InputError(f"protocol ntire_test: no column {IS_DISTORTED!r}, which the layout ntire_test gives")
    images = of_view(test, CLEAN)
    values = {}
    for source, of_set in images.assign(source=images.get("source", "")).groupby("source"):
        suffix, name = (f"_{source!s}", f" {source!s}") if source else ("", "")
        is_distorted = of_set[IS_DISTORTED].astype(str).isin(("1", "1.0", "True", "true"))
        distorted = of_set[is_distorted]
        values[f"auroc_clean{suffix}"] = _auroc(of_set[~is_distorted], f"undistorted{name}")
        values[f"auroc_robust{suffix}"] = _auroc(distorted, f"distorted{name}")
        words = distorted.get(DISTORTIONS, pd.Series("", distorted.index)).astype(str).str.split().map(set)
        for distortion in sorted(set().union(*words)):
            part = distorted[[distortion in names for names in words]]
            if rank_rows(part).has_both:
                values[f"auroc_{distortion}{suffix}"] = _auroc(part, distortion)
    return values


def _auroc(images: pd.DataFrame, name: str) -> float:
    ranking = rank_rows(images)
    if not ranking.has_both:
        raise InputError(f"AUROC of the {name} images needs both classes")
    return classification.auroc(ranking)
