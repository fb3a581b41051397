"""Published protocols by name: which images, which threshold, which average, so that numbers compare with papers.

Each metric function takes the readable test rows of a checked scores file and gives flat numbers; InputError names
what the file lacks.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN, DISTORTIONS, IS_DISTORTED
from aigid.evaluation.attribution import predicted_generators
from aigid.evaluation.dda import dda, join_benchmarks
from aigid.evaluation.evaluate import Section
from aigid.evaluation.ntire import ntire, ntire_test
from aigid.evaluation.subsets import by_test_set, of_view
from aigid.evaluation.ufd import ufd_subsample, ufd_threshold
from aigid.metrics import classification
from aigid.metrics.classification import rank, rank_rows

GENIMAGE_VIEWS = ("lr112", "lr64", "jpeg65", "jpeg30", "blur3", "blur5")
GENIMAGE_SETS = 8
SD14 = ("sd14", "sdv14", "stablediffusionv14")


def ufd(test: pd.DataFrame, val: pd.DataFrame) -> dict[str, float]:
    """Return UniversalFakeDetect's AP and accuracies on a sample of each test set, and the means.

    They are at 0.5, at its oracle with the quirks of the published code (``ufd_threshold``), and at the one threshold
    that is best on the validation images, if these are of both classes.
    """
    values: dict[str, float] = {}
    val_ranking = rank_rows(val[val["view"] == CLEAN])
    threshold = classification.max_accuracy_threshold(val_ranking) if val_ranking.has_both else None
    sets = by_test_set(of_view(test, CLEAN))
    for generator, part in sets:
        scores = part.sort_values("path").groupby("label")["score"].apply(list)
        reals, fakes = ufd_subsample(scores[0], scores[1])
        ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
        oracle = ufd_threshold(reals, fakes)
        values[f"ap_{generator}"] = classification.average_precision(ranking)
        values[f"acc_05_{generator}"] = classification.accuracy(ranking, 0.5)
        values[f"acc_oracle_{generator}"] = classification.accuracy(ranking, oracle)
        if threshold is not None:
            values[f"acc_val_{generator}"] = classification.accuracy(ranking, threshold)
    means = {"map": "ap_", "acc_05": "acc_05_", "acc_oracle": "acc_oracle_"}
    means |= {} if threshold is None else {"acc_val": "acc_val_"}
    return {name: _mean(values, prefix) for name, prefix in means.items()} | {"num_sets": len(sets), **values}


def gendet_cross(test: pd.DataFrame) -> dict[str, float]:
    """Return GenDet's accuracy at 0.5 and AP of each set of another dataset, and their means (Tables 6 and 7)."""
    values = {}
    for name, part in by_test_set(of_view(test, CLEAN)):
        ranking = rank_rows(part)
        values[f"acc_05_{name}"] = classification.accuracy(ranking, 0.5)
        values[f"ap_{name}"] = classification.average_precision(ranking)
    return {"acc_05": _mean(values, "acc_05_"), "map": _mean(values, "ap_"), **values}


def genimage(test: pd.DataFrame) -> dict[str, float]:
    """Return GenImage's accuracy at 0.5 of its eight sets, the mean, and that of its degradations if all are there.

    As in the paper, only the images of SD 1.4 count under a degradation, or all if no generator bears its name.
    """
    sets = by_test_set(of_view(test, CLEAN))
    values = {f"acc_{name}": classification.accuracy(rank_rows(part), 0.5) for name, part in sets}
    if len(values) != GENIMAGE_SETS:
        names = ", ".join(name.removeprefix("acc_") for name in values)
        raise InputError(f"protocol genimage: a mean over {GENIMAGE_SETS} generators; found {len(values)}: {names}")
    values = {"acc": _mean(values, "acc_"), **values}
    if not set(GENIMAGE_VIEWS) & set(test["view"]):
        return values
    views = {}
    for view in GENIMAGE_VIEWS:
        images = of_view(test, view)
        sd14 = [part for name, part in by_test_set(images) if re.sub("[^a-z0-9]", "", name.lower()) in SD14]
        views[f"degraded_{view}"] = classification.accuracy(rank_rows(sd14[0] if sd14 else images), 0.5)
    return {**values, "degraded": _mean(views, "degraded_"), **views}


def defactify(test: pd.DataFrame) -> dict[str, float]:
    """Return Defactify 4's macro F1 of the generator (task B), and macro and binary F1 of task A, derived from it.

    They are those of the answer file (`attribution.submission`).
    """
    images = of_view(test, CLEAN)
    predicted, label = predicted_generators(images), images["label"].to_numpy() == 1
    return {
        "f1_macro_a": classification.macro_f1(label, predicted != "real"),
        "f1_a": classification.f1(rank(label, predicted != "real"), 0.5),
        "f1_macro_b": classification.macro_f1(images["generator"].to_numpy(str), predicted),
    }


def raid(test: pd.DataFrame) -> dict[str, float]:
    """Return RAID's numbers of each budget, ``original`` and ``epsilon<n>``: those of ``evaluate_detector.py``.

    Accuracies of each folder, and of all F1, accuracy, and AUROC and AP of the hard decisions at 0.5.
    """
    images = of_view(test, CLEAN)
    values: dict[str, float] = {}
    if "source" not in images or not set(images["source"]) - {""}:
        raise InputError("protocol raid: no column 'source', which the layout raid gives")
    for budget, part in images.groupby("source"):
        decided = rank(part["label"], part["score"] > 0.5)
        if not decided.has_both:
            raise InputError(f"protocol raid: {budget}: needs both classes")
        values |= {f"{budget}_acc_{name}": classification.accuracy(rank_rows(rows), 0.5)
                   for name, rows in part.groupby("generator")}  # fmt: skip
        values[f"{budget}_f1"] = classification.f1(decided, 0.5)
        values[f"{budget}_acc"] = classification.accuracy(decided, 0.5)
        values[f"{budget}_auroc_decided"] = classification.auroc(decided)
        values[f"{budget}_ap_decided"] = classification.average_precision(decided)
    return values


def _mean(values: dict[str, float], prefix: str) -> float:
    return float(np.mean([value for name, value in values.items() if name.startswith(prefix)]))


class Protocol(NamedTuple):
    """A way to turn scores into published numbers, in words and as a function of test rows, and of val, if it wants."""

    threshold: str
    sample: str
    crop: str
    aggregate: str
    required_columns: str
    compute: Callable[..., dict[str, float]]
    takes_validation: bool = False

    def apply(self, scores: pd.DataFrame) -> dict[str, float]:
        """Return the numbers of a scores file; InputError names what it lacks."""
        readable = scores[scores["score"].notna()]
        splits = ("test", "val") if self.takes_validation else ("test",)
        return self.compute(*(readable[readable["split"] == split] for split in splits))


PROTOCOLS = {
    "ufd": Protocol(
        threshold="0.5; the best on validation; the best on the judged images, counted as the published code does",
        sample="1,000 images a class of each test set, 100 where either class has fewer, drawn with seed 0",
        crop="224 px from the centre, without resizing",
        aggregate="plain mean over the test sets",
        required_columns="view clean; generators are the test sets, and a real's source the set it belongs to",
        compute=ufd,
        takes_validation=True,
    ),
    "genimage": Protocol(
        threshold="0.5",
        sample="all images",
        crop="224 px",
        aggregate="plain mean over the eight generators, each with its own reals; over six degradations",
        required_columns=f"view clean, fakes of eight generators; for the degradations {', '.join(GENIMAGE_VIEWS)}",
        compute=genimage,
    ),
    "gendet_cross": Protocol(
        threshold="0.5",
        sample="all images; the paper has 1,000 a class of each set",
        crop="the detector's own",
        aggregate="plain mean over the sets, each with its own reals",
        required_columns="view clean; generators are the sets, and a real's source the set it belongs to",
        compute=gendet_cross,
    ),
    "ntire": Protocol(
        threshold="none: AUROC",
        sample="all images",
        crop="the detector's own",
        aggregate="all distorted images together (robust), all undistorted ones together (clean)",
        required_columns="view clean, and one or more views of distorted images",
        compute=ntire,
    ),
    "ntire_test": Protocol(
        threshold="none: AUROC",
        sample="all images",
        crop="the detector's own",
        aggregate="all distorted images of a set together (robust), all others together (clean); each distortion's",
        required_columns=f"view clean, {IS_DISTORTED}, {DISTORTIONS}; source is the set, such as val or test",
        compute=ntire_test,
    ),
    "defactify": Protocol(
        threshold="none: the class decided for (column predicted, else the most probable); task A follows from it",
        sample="all images",
        crop="the detector's own",
        aggregate="macro F1 over the classes; the binary F1 of task A beside it",
        required_columns="view clean, and a column class_<name> for each class, class_real among them",
        compute=defactify,
    ),
    "raid": Protocol(
        threshold="0.5",
        sample="all images",
        crop="256 px from the centre, before the detector's own",
        aggregate="all images of a budget together; accuracy of each folder",
        required_columns="view clean; source is the budget, original or epsilon<n>",
        compute=raid,
    ),
    "dda": Protocol(
        threshold="0.5",
        sample="all images; fakes of GenImage, ForenSynths and AIGCDetectionBenchmark as JPEG 96",
        crop="the detector's own",
        aggregate="balanced accuracy (fake recall where there are no reals), mean over generators; mean, minimum and "
        "sample deviation over benchmarks (column benchmark)",
        required_columns="reals in view clean; fakes in view jpeg96, of other benchmarks in view clean",
        compute=dda,
    ),
}


def find(name: str) -> Protocol:
    """Return the protocol called ``name``; InputError that lists the known."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r}: known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def rows_of(dataset: str, scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows that the protocol named as a dataset takes: its own, or those of all of DDA's benchmarks."""
    joined = join_benchmarks(scores) if dataset == "dda" else None
    return scores[dataset] if joined is None else joined


def section(name: str, numbers: Mapping[str, Mapping[str, float]]) -> Section:
    """Return the protocol in words, and its numbers by detector, as a section of a report."""
    protocol = find(name)
    titles = {"aggregate": "average", "required_columns": "needs"}
    rules = [(titles.get(name, name), text) for name, text in protocol._asdict().items() if isinstance(text, str)]
    table = pd.DataFrame(numbers).map(lambda value: "-" if np.isnan(value) else f"{value:.4g}")
    return Section(
        "What the paper's protocol requires, and what comes of it; thresholds and averages are its own, not ours.",
        {"Numbers": table.rename_axis("number").reset_index(), "Rules": pd.DataFrame(rules, columns=["what", "how"])},
    )
