"""The numbers that papers publish, computed as they do: which images, which threshold, which average.

Each function takes the readable test rows of a checked scores file and gives flat numbers; InputError names what the
file lacks.
"""

import re

import numpy as np
import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN
from aigid.metrics import classification
from aigid.metrics.classification import rank, rank_rows

GENIMAGE_VIEWS = ("lr112", "lr64", "jpeg65", "jpeg30", "blur3", "blur5")
GENIMAGE_SETS = 8
SD14 = ("sd14", "sdv14", "stablediffusionv14")
DDA_VIEW, DDA_JPEG = "jpeg96", ("genimage", "forensynths", "aigcdetectionbenchmark")


def ufd(test: pd.DataFrame) -> dict[str, float]:
    """UniversalFakeDetect: on 1,000 images a class (or 100) of each set, AP, accuracy at 0.5 and at its oracle; means.

    ``acc_oracle`` is found and counted with the quirks of the published code (``thresholds.ufd_compat``).
    """
    found: dict[str, float] = {}
    sets = _by_test_set(_view(test, CLEAN))
    for generator, part in sets:
        part = part.sort_values("path")
        reals, fakes = classification.ufd_subsample(*(part.loc[part["label"] == y, "score"].tolist() for y in (0, 1)))
        ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
        oracle = classification.ufd_threshold(reals, fakes)
        found[f"ap_{generator}"] = classification.average_precision(ranking)
        found[f"acc_05_{generator}"] = classification.accuracy(ranking, 0.5)
        found[f"acc_oracle_{generator}"] = classification.accuracy(ranking, oracle)
    return {
        "map": _mean(found, "ap_"),
        "acc_05": _mean(found, "acc_05_"),
        "acc_oracle": _mean(found, "acc_oracle_"),
        "num_sets": len(sets),
        **found,
    }


def genimage(test: pd.DataFrame) -> dict[str, float]:
    """GenImage: accuracy at 0.5 of each of the eight sets, and their mean; over its six degradations if all are there.

    As in the paper, only the images of SD 1.4 count under a degradation, or all if no generator bears its name.
    """
    found = {
        f"acc_{name}": classification.accuracy(rank_rows(part), 0.5) for name, part in _by_test_set(_view(test, CLEAN))
    }
    if len(found) != GENIMAGE_SETS:
        names = ", ".join(name.removeprefix("acc_") for name in found)
        raise InputError(f"protocol genimage: a mean over {GENIMAGE_SETS} generators; found {len(found)}: {names}")
    headline = {"acc": _mean(found, "acc_"), **found}
    degraded = [view for view in GENIMAGE_VIEWS if view in set(test["view"])]
    if not degraded:
        return headline
    views = {
        f"degraded_{view}": classification.accuracy(rank_rows(_sd14(_view(test, view))), 0.5) for view in GENIMAGE_VIEWS
    }
    return {**headline, "degraded": _mean(views, "degraded_"), **views}


def _sd14(images: pd.DataFrame) -> pd.DataFrame:
    sets = [part for name, part in _by_test_set(images) if re.sub("[^a-z0-9]", "", name.lower()) in SD14]
    return sets[0] if sets else images


def ntire(test: pd.DataFrame) -> dict[str, float]:
    """NTIRE 2026: AUROC over all distorted images (robust, the primary number) and over the others (clean)."""
    distorted = test[test["view"] != CLEAN]
    if distorted.empty:
        raise InputError(f"protocol ntire: no view but {CLEAN!r}: robust AUROC needs distorted images")
    return {"auroc_robust": _auroc(distorted, "distorted"), "auroc_clean": _auroc(_view(test, CLEAN), CLEAN)}


def defactify(test: pd.DataFrame) -> dict[str, float]:
    """Defactify 4: macro and binary F1 of real against generated (task A), macro F1 of the source model (task B).

    Task A cuts at 0.5; task B takes the largest of the ``class_<generator>`` columns, ``class_real`` among them.
    """
    images = _view(test, CLEAN)
    ranking = rank_rows(images)
    return {
        "f1_macro_a": classification.f1_macro(ranking, 0.5),
        "f1_a": classification.f1(ranking, 0.5),
        "f1_macro_b": classification.macro_f1(images["generator"].to_numpy(str), attribution_metrics(images)),
    }


def dda(test: pd.DataFrame) -> dict[str, float]:
    """DDA: balanced accuracy at 0.5 per generator and its mean, fakes re-compressed as JPEG 96 (view ``jpeg96``).

    A column ``benchmark`` splits the rows: then the mean over the generators of each, and mean and minimum over all;
    there only ``DDA_JPEG`` are re-compressed, as published.
    """
    if "benchmark" not in test:
        return _dda(test, DDA_VIEW)
    names = sorted(test["benchmark"].astype("str").unique())
    found = {}
    for name in names:
        view = DDA_VIEW if re.sub(r"[^a-z]", "", name.lower()) in DDA_JPEG else CLEAN
        try:
            found[name] = _dda(test[test["benchmark"] == name], view)["balanced_acc"]
        except InputError as error:
            raise InputError(f"benchmark {name!r}: {error}") from None
    return mean_over_benchmarks(found) | {f"benchmark_{name}": value for name, value in found.items()}


def _dda(test: pd.DataFrame, view: str) -> dict[str, float]:
    reals, fakes = _view(test, CLEAN).query("label == 0"), _view(test, view).query("label == 1")
    found = {
        f"balanced_acc_{name}": classification.balanced_accuracy(rank_rows(part), 0.5)
        for name, part in _by_test_set(pd.concat([reals, fakes]))
    }
    return {"balanced_acc": _mean(found, "balanced_acc_"), **found}


def mean_over_benchmarks(values: dict[str, float]) -> dict[str, float]:
    """DDA's headline: mean and minimum of one number over several benchmarks."""
    return {"mean": float(np.mean(list(values.values()))), "min": min(values.values())}


def attribution_metrics(images: pd.DataFrame) -> np.ndarray:
    """The most probable class of each image by its ``class_<name>`` columns, (N,) text."""
    columns = [column for column in images if column.startswith("class_")]
    if len(columns) < 2:
        raise InputError("attribution needs a column class_<name> per class; found " + (", ".join(columns) or "none"))
    names = np.array([column.removeprefix("class_") for column in columns])
    return names[images[columns].to_numpy().argmax(axis=1)]


def _view(test: pd.DataFrame, view: str) -> pd.DataFrame:
    images = test[test["view"] == view]
    if images.empty:
        raise InputError(f"no test rows of view {view!r}; found {', '.join(sorted(set(test['view']))) or 'none'}")
    return images


def _by_test_set(images: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each generator's fakes with the reals whose ``source`` bears its name; with all reals where none does."""
    reals, fakes = images[images["label"] == 0], images[images["label"] == 1]
    if reals.empty or fakes.empty:
        raise InputError(f"needs both classes; found {len(reals)} reals and {len(fakes)} fakes")
    paired = "source" in images and set(fakes["generator"]) <= set(reals["source"])
    return [
        (str(name), pd.concat([reals[reals["source"] == name] if paired else reals, part]))
        for name, part in fakes.groupby("generator")
    ]


def _auroc(images: pd.DataFrame, where: str) -> float:
    ranking = rank_rows(images)
    if not ranking.has_both:
        raise InputError(f"AUROC of the {where} images needs both classes")
    return classification.auroc(ranking)


def _mean(found: dict[str, float], prefix: str) -> float:
    return float(np.mean([value for name, value in found.items() if name.startswith(prefix)]))
