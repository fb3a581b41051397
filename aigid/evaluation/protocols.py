"""The published protocols by name: which images, which threshold, which average, so that a number can be compared.

Each takes the test rows of a checked scores file and gives flat numbers; InputError names what the file lacks.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from aigid.errors import InputError
from aigid.evaluation import metrics, thresholds
from aigid.evaluation.ranking import rank
from aigid.evaluation.scores import CLEAN, rank_rows

GENIMAGE_VIEWS = ("lr112", "lr64", "jpeg65", "jpeg30", "blur3", "blur5")
DDA_VIEW = "jpeg96"


def ufd(test: pd.DataFrame) -> dict[str, float]:
    """UniversalFakeDetect: on 1,000 images a class (or 100) of each set, AP, accuracy at 0.5 and at its oracle; means.

    ``acc_oracle`` is found and counted with the quirks of the published code (``thresholds.ufd_compat``).
    """
    found = {}
    for generator, part in _test_sets(_view(test, CLEAN)):
        part = part.sort_values("path")
        reals, fakes = thresholds.ufd_sample(*(part.loc[part["label"] == y, "score"].tolist() for y in (0, 1)))
        ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
        oracle = thresholds.ufd_compat(reals, fakes)
        found[f"ap_{generator}"] = metrics.average_precision(ranking)
        found[f"acc_05_{generator}"] = metrics.accuracy(ranking, 0.5)
        found[f"acc_oracle_{generator}"] = metrics.accuracy(ranking, oracle)
    return {
        "map": _mean(found, "ap_"),
        "acc_05": _mean(found, "acc_05_"),
        "acc_oracle": _mean(found, "acc_oracle_"),
        **found,
    }


def genimage(test: pd.DataFrame) -> dict[str, float]:
    """GenImage: accuracy at 0.5 of each generator's set, and their mean; over its six degradations if all are there."""
    found = {f"acc_{name}": metrics.accuracy(rank_rows(part), 0.5) for name, part in _test_sets(_view(test, CLEAN))}
    headline = {"acc": _mean(found, "acc_"), **found}
    degraded = [view for view in GENIMAGE_VIEWS if view in set(test["view"])]
    if not degraded:
        return headline
    views = {f"degraded_{view}": metrics.accuracy(rank_rows(_view(test, view)), 0.5) for view in GENIMAGE_VIEWS}
    return {**headline, "degraded": _mean(views, "degraded_"), **views}


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
        "f1_macro_a": metrics.f1_macro(ranking, 0.5),
        "f1_a": metrics.f1(ranking, 0.5),
        "f1_macro_b": metrics.macro_f1(images["generator"].to_numpy(str), attributed(images)),
    }


def dda(test: pd.DataFrame) -> dict[str, float]:
    """DDA: balanced accuracy at 0.5 per generator and its mean, fakes re-compressed as JPEG 96 (view ``jpeg96``)."""
    reals, fakes = _view(test, CLEAN).query("label == 0"), _view(test, DDA_VIEW).query("label == 1")
    found = {
        f"balanced_acc_{name}": metrics.balanced_accuracy(rank_rows(part), 0.5)
        for name, part in _test_sets(pd.concat([reals, fakes]))
    }
    return {"balanced_acc": _mean(found, "balanced_acc_"), **found}


PROTOCOLS: dict[str, Callable[[pd.DataFrame], dict[str, float]]] = {
    "ufd": ufd,
    "genimage": genimage,
    "ntire": ntire,
    "defactify": defactify,
    "dda": dda,
}


def apply(name: str, scores: pd.DataFrame) -> dict[str, float]:
    """The numbers of the protocol called ``name`` on the readable test rows of checked scores."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r}: known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name](scores[(scores["split"] == "test") & scores["score"].notna()])


def over_benchmarks(values: dict[str, float]) -> dict[str, float]:
    """DDA's headline: mean and minimum of one number over several benchmarks."""
    return {"mean": float(np.mean(list(values.values()))), "min": min(values.values())}


def attributed(images: pd.DataFrame) -> np.ndarray:
    """The most probable class of each image by its ``class_<name>`` columns, (N,) text."""
    columns = [column for column in images if column.startswith("class_")]
    if len(columns) < 2:
        raise InputError("attribution needs a column class_<name> per class; found " + (", ".join(columns) or "none"))
    names = np.array([column.removeprefix("class_") for column in columns])
    return names[images[columns].to_numpy().argmax(axis=1)]


def submission(scores: pd.DataFrame, classes: list[str]) -> list[dict[str, int | str]]:
    """Defactify's answer file: ``index, caption, Label_A, Label_B`` per image, in the order of ``index``.

    ``classes`` names Label_B 0, 1, ... ; ``index`` is the number that ends the file's name.
    """
    images = _view(scores[scores["score"].notna()], CLEAN)
    index = images["path"].str.extract(r"(\d+)\.[^./]*$")[0]
    if index.isna().any():
        raise InputError(
            f"path {images['path'][index.isna()].iloc[0]!r}: Defactify's index is the number ending the name"
        )
    captions = images["caption"] if "caption" in images else pd.Series("", images.index)
    names = attributed(images)
    if unknown := sorted(set(names) - set(classes)):
        raise InputError(f"class {unknown[0]!r}: Label_B numbers {', '.join(classes)}")
    label_b = [classes.index(name) for name in names]
    rows = zip(index.astype(int), captions, (images["score"] > 0.5).astype(int), label_b, strict=True)
    return [dict(zip(("index", "caption", "Label_A", "Label_B"), row, strict=True)) for row in sorted(rows)]


def _view(test: pd.DataFrame, view: str) -> pd.DataFrame:
    images = test[test["view"] == view]
    if images.empty:
        raise InputError(f"no test rows of view {view!r}; found {', '.join(sorted(set(test['view']))) or 'none'}")
    return images


def _test_sets(images: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
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
    return metrics.auroc(ranking)


def _mean(found: dict[str, float], prefix: str) -> float:
    return float(np.mean([value for name, value in found.items() if name.startswith(prefix)]))
