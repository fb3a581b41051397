"""Attribution: which generator made an image, by the ``class_<name>`` columns of a scores file.

Task B takes the column ``predicted``, of a file without it the largest class; task A is derived from it: any class but
``real`` says generated (NYCU at Defactify 4).
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import seeding, tables
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, write_json
from aigid.core.scores import CLEAN, PREDICTED, PREFIX
from aigid.evaluation.evaluate import Section
from aigid.metrics import classification, intervals
from aigid.metrics.classification import rank

N_BOOTSTRAP = 200
NO_CLASSES = "no class_<name> columns in the scores"
DEFACTIFY_CLASSES = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")  # Label_B 0 to 5
Submission = list[dict[str, int | str]]


@dataclass(frozen=True)
class Attribution:
    """The flat metrics of one detector on one dataset, one row a class, and the confusion table."""

    metrics: dict[str, float]
    classes: pd.DataFrame  # class, num, precision, recall, f1
    confusion: pd.DataFrame  # generator, then a column of counts a class


def classes_of(scores: pd.DataFrame) -> list[str]:
    """Return the classes that a scores file has probabilities of."""
    return [str(column).removeprefix(PREFIX) for column in scores if str(column).startswith(PREFIX)]


def predicted_generators(images: pd.DataFrame) -> NDArray[np.str_]:
    """Return the class of each image (N,) by the column ``predicted``, else the most probable one."""
    names = classes_of(images)
    if len(names) < 2:
        columns = ", ".join(PREFIX + name for name in names)
        raise InputError(f"attribution needs a column class_<name> per class; found {columns or 'none'}")
    if PREDICTED in images:
        return images[PREDICTED].to_numpy(str)
    index = images[[PREFIX + name for name in names]].to_numpy().argmax(axis=1)
    return np.asarray(np.array(names)[index])


def attribute(scores: pd.DataFrame, view: str, seed: int = 0, split: str = "test") -> Attribution:
    """Evaluate the readable rows of one split and view; InputError where the file has no classes.

    Fakes of a generator that is no class cannot be named: they count in ``num_unattributable`` and in task A alone.
    """
    if len(classes := classes_of(scores)) < 2 or "real" not in classes:
        raise InputError(f"attribution: {NO_CLASSES}, class_real among them; found {', '.join(classes) or 'none'}")
    images = scores[(scores["split"] == split) & (scores["view"] == view) & scores["score"].notna()]
    truth, predicted = images["generator"].to_numpy(str), predicted_generators(images)
    known = np.isin(truth, classes)
    if not known.any():
        raise InputError(f"attribution: no {split} image of the classes {', '.join(classes)}")
    table = confusion(truth, predicted, classes)
    task_a = rank(images["label"], predicted != "real")
    metrics = {
        "task_a_acc": classification.accuracy(task_a, 0.5),
        "task_a_f1": classification.f1(task_a, 0.5),
        "task_a_f1_macro": classification.macro_f1(images["label"].to_numpy() == 1, predicted != "real"),
        "num_attributed": int(known.sum()),
        "num_unattributable": int((~known).sum()),
        "attribution_acc": float((truth[known] == predicted[known]).mean()),
        "attribution_f1_macro": classification.macro_f1(truth[known], predicted[known]),
    }
    if bounds := _interval(truth[known], predicted[known], intervals.group_names(images)[known], seed):
        metrics |= {"attribution_f1_macro_low": bounds[0], "attribution_f1_macro_high": bounds[1]}
    return Attribution(metrics, per_class(table), table)


def confusion(truth: NDArray[np.str_], predicted: NDArray[np.str_], classes: Sequence[str]) -> pd.DataFrame:
    """Return counts: a row a generator (those that are no class last), a column a predicted class."""
    names = [name for name in classes if name in truth] + sorted(set(truth.tolist()) - set(classes))
    counts = [[int(((truth == name) & (predicted == column)).sum()) for column in classes] for name in names]
    return pd.DataFrame(counts, columns=list(classes)).assign(generator=names)[["generator", *classes]]


def per_class(table: pd.DataFrame) -> pd.DataFrame:
    """Return precision, recall and F1 of each class in a confusion table, over the generators that are classes."""
    classes = [name for name in table.columns if name != "generator"]
    counts = table.set_index("generator").reindex(classes).fillna(0)
    correct, num, predicted = np.diag(counts), counts.sum(axis=1).to_numpy(), counts.sum(axis=0).to_numpy()
    with np.errstate(invalid="ignore"):
        metrics = {"precision": correct / predicted, "recall": correct / num, "f1": 2 * correct / (num + predicted)}
    return pd.DataFrame({"class": classes, "num": num.astype(int), **metrics})


def write(attribution: Attribution, root: Path | str, detector: str, dataset: str) -> None:
    """Write ``details/<detector>/<dataset>.confusion.csv`` and ``.classes.csv`` below ``root``."""
    for name in ("confusion", "classes"):
        tables.write(getattr(attribution, name), Path(root, "details", detector, f"{dataset}.{name}.csv"))


def section(root: Path | str, detectors: Sequence[str], dataset: str) -> Section | None:
    """Return a dataset's section of a report; None where no detector names generators."""
    titled, rows = {}, []
    for detector in detectors:
        folder = Path(root, "details", detector)
        if (folder / f"{dataset}.confusion.csv").is_file():
            metrics = json.loads(Path(root, "metrics", detector, f"{dataset}.json").read_text(encoding="utf-8"))
            rows.append(_row(detector, metrics))
            classes, counts = (
                pd.read_csv(folder / f"{dataset}.{name}.csv", keep_default_na=False)
                for name in ("classes", "confusion")
            )
            titled[f"{detector}, per class"] = classes.map(_format)
            titled[f"{detector}, confusion: rows are what it is, columns what it is taken for"] = counts
    if not titled:
        return None
    intro = "Task A: real or generated, derived from task B. Task B: which generator, if any. F1 is macro."
    return Section(intro, {"Attribution": pd.DataFrame(rows), **titled})


def confusions(root: Path | str, detectors: Sequence[str], dataset: str) -> pd.DataFrame:
    """Return ``detector, generator, predicted, images``: the confusion tables of a dataset, a row a cell."""
    parts = [pd.DataFrame(columns=["detector", "generator", "predicted", "images"])]
    for detector in detectors:
        path = Path(root, "details", detector, f"{dataset}.confusion.csv")
        if path.is_file():
            counts = pd.read_csv(path, keep_default_na=False)
            parts.append(counts.melt("generator", var_name="predicted", value_name="images").assign(detector=detector))
    return pd.concat(parts[1:] or parts)[parts[0].columns]


def _interval(
    truth: NDArray[np.str_], predicted: NDArray[np.str_], groups: NDArray[np.str_], seed: int
) -> tuple[float, float] | None:
    """Return a 95 % interval of macro-F1, whole groups resampled; None for a single group."""
    clusters = intervals.number_clusters(groups)
    num = int(clusters.max()) + 1
    if num < 2:
        return None
    names = np.unique(np.concatenate([truth, predicted]), return_inverse=True)[1].reshape(2, -1)
    size = int(names.max()) + 1
    tables = np.zeros((num, size, size))
    np.add.at(tables, (clusters, names[0], names[1]), 1)
    weights = seeding.numpy_generator("attribution", seed).multinomial(num, np.full(num, 1 / num), N_BOOTSTRAP)
    counts = np.tensordot(weights, tables, 1)
    correct, sizes = np.einsum("bkk->bk", counts), counts.sum(1) + counts.sum(2)
    with np.errstate(invalid="ignore"):
        f1 = np.nanmean(np.where(sizes > 0, 2 * correct / sizes, np.nan), axis=1)
    return intervals.interval(f1, num)


def _row(detector: str, metrics: dict[str, float]) -> dict[str, str]:
    task_b = f"{metrics['attribution_f1_macro']:.3f}"
    if "attribution_f1_macro_low" in metrics:
        task_b += f" [{metrics['attribution_f1_macro_low']:.3f}, {metrics['attribution_f1_macro_high']:.3f}]"
    return {
        "detector": detector,
        "task A F1": f"{metrics['task_a_f1_macro']:.3f}",
        "task A accuracy": f"{metrics['task_a_acc']:.3f}",
        "task B F1": task_b,
        "task B accuracy": f"{metrics['attribution_acc']:.3f}",
        "images": str(metrics["num_attributed"]),
        "of other generators": str(metrics["num_unattributable"]),
    }


def _format(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else value or "-" if value != 0 else value


def submission(scores: pd.DataFrame, classes: Sequence[str] = DEFACTIFY_CLASSES) -> Submission:
    """Return Defactify 4's answer: ``index, caption, Label_A, Label_B`` per test image, in the order of ``index``.

    ``classes`` names Label_B 0, 1, ... ; Label_A is 1 unless Label_B is 0; ``index`` is the number that ends the
    file's name. InputError where the scores lack a class, have one more, or an image's name ends in no number.
    """
    images = scores[(scores["split"] == "test") & (scores["view"] == CLEAN) & scores["score"].notna()]
    available = classes_of(scores)
    if missing := [name for name in classes if name not in available]:
        raise InputError(
            f"answer: the scores have no column class_{missing[0]}; found {', '.join(available) or 'none'}"
        )
    if unknown := [name for name in available if name not in classes]:
        raise InputError(f"answer: class {unknown[0]!r}: Label_B numbers {', '.join(classes)}")
    index = images["path"].str.extract(r"(\d+)\.[^./]*$")[0]
    if index.isna().any():
        path = images["path"][index.isna()].iloc[0]
        raise InputError(f"path {path!r}: Defactify's index is the number ending the name")
    captions = images["caption"] if "caption" in images else pd.Series("", images.index)
    label_b = [list(classes).index(name) for name in predicted_generators(images)]
    rows = sorted(zip(index.astype(int), captions, label_b, strict=True))
    return [{"index": number, "caption": text, "Label_A": int(b > 0), "Label_B": b} for number, text, b in rows]


def write_submission(answer: Submission, folder: Path | str, name: str) -> None:
    """Write ``<name>.json`` and ``<name>.zip``, which holds the same as ``answer.json`` and is handed in."""
    write_json(Path(folder, f"{name}.json"), answer)
    text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(Path(folder, f"{name}.zip")) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("answer.json", (1980, 1, 1, 0, 0, 0)), text)
