"""Which generator made it: what a scores file's ``class_<name>`` columns are worth, beside real or generated.

Task B takes the largest class; task A is derived from it: any class but ``real`` says generated (NYCU at Defactify 4).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.evaluation.published import attribution_metrics
from aigid.metrics import intervals
from aigid.metrics.classification import macro_f1

PREFIX = "class_"
DRAWS = 200
NONE = "no class_<name> columns in the scores"


@dataclass(frozen=True)
class Attribution:
    """Of one detector on one dataset: flat metrics, one row a class, and how often each is taken for each."""

    metrics: dict[str, float]
    classes: pd.DataFrame  # class, num, precision, recall, f1
    confusion: pd.DataFrame  # generator, then a column of counts a class


def classes_of(scores: pd.DataFrame) -> list[str]:
    """The classes that a scores file has probabilities of."""
    return [str(column).removeprefix(PREFIX) for column in scores if str(column).startswith(PREFIX)]


def attribute(scores: pd.DataFrame, view: str, seed: int = 0, split: str = "test") -> Attribution:
    """Judge the readable rows of one split and view; InputError where the file has no classes to judge.

    Fakes of a generator that is no class cannot be named: they count in ``num_unattributable`` and in task A alone.
    """
    if len(classes := classes_of(scores)) < 2 or "real" not in classes:
        raise InputError(f"attribution: {NONE}, class_real among them; found {', '.join(classes) or 'none'}")
    images = scores[(scores["split"] == split) & (scores["view"] == view) & scores["score"].notna()]
    truth, found = images["generator"].to_numpy(str), attribution_metrics(images)
    known = np.isin(truth, classes)
    if not known.any():
        raise InputError(f"attribution: no {split} image of the classes {', '.join(classes)}")
    table = confusion(truth, found, classes)
    numbers = _task_a(images["label"].to_numpy(), found) | {
        "num_attributed": int(known.sum()),
        "num_unattributable": int((~known).sum()),
        "attribution_acc": float((truth[known] == found[known]).mean()),
        "attribution_f1_macro": macro_f1(truth[known], found[known]),
    }
    if bounds := _bounds(truth[known], found[known], intervals.group_names(images)[known], seed):
        numbers |= {"attribution_f1_macro_low": bounds[0], "attribution_f1_macro_high": bounds[1]}
    return Attribution(numbers, per_class(table), table)


def confusion(truth: np.ndarray, found: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Counts: a row a generator (those that are no class last), a column a class that it is taken for."""
    names = [name for name in classes if name in truth] + sorted(set(truth.tolist()) - set(classes))
    counts = [[int(((truth == name) & (found == taken)).sum()) for taken in classes] for name in names]
    return pd.DataFrame(counts, columns=list(classes)).assign(generator=names)[["generator", *classes]]


def per_class(table: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall and F1 of each class in a confusion table, over the generators that are classes."""
    classes = [name for name in table.columns if name != "generator"]
    counts = table.set_index("generator").reindex(classes).fillna(0)
    hits, num, taken = np.diag(counts), counts.sum(axis=1).to_numpy(), counts.sum(axis=0).to_numpy()
    with np.errstate(invalid="ignore"):
        parts = {"precision": hits / taken, "recall": hits / num, "f1": 2 * hits / (num + taken)}
    return pd.DataFrame({"class": classes, "num": num.astype(int), **parts})


def write(found: Attribution, root: Path | str, detector: str, dataset: str) -> None:
    """Write ``details/<detector>/<dataset>.confusion.csv`` and ``.classes.csv`` below ``root``."""
    for name in ("confusion", "classes"):
        with atomic_write(Path(root, "details", detector, f"{dataset}.{name}.csv")) as part:
            getattr(found, name).to_csv(part, index=False, lineterminator="\n")


def section(root: Path | str, detectors: Sequence[str], dataset: str) -> tuple[str, dict[str, pd.DataFrame]] | None:
    """What a report says of a dataset: a line, and tables by title; None where no detector names generators."""
    tables, lines = {}, []
    for detector in detectors:
        folder = Path(root, "details", detector)
        if (folder / f"{dataset}.confusion.csv").is_file():
            numbers = json.loads(Path(root, "metrics", detector, f"{dataset}.json").read_text(encoding="utf-8"))
            lines.append(_row(detector, numbers))
            one = pd.read_csv(folder / f"{dataset}.classes.csv", keep_default_na=False)
            tables[f"{detector}, per class"] = one.map(_format)
            tables[f"{detector}, confusion: rows are what it is, columns what it is taken for"] = pd.read_csv(
                folder / f"{dataset}.confusion.csv", keep_default_na=False
            )
    if not tables:
        return None
    line = "Task A: real or generated, derived from task B. Task B: which generator, if any. F1 is macro."
    return line, {"Attribution": pd.DataFrame(lines), **tables}


def _task_a(labels: np.ndarray, found: np.ndarray) -> dict[str, float]:
    called = found != "real"
    truth = labels == 1
    hits, extra = int((called & truth).sum()), int((called & ~truth).sum() + (~called & truth).sum())
    f1 = 2 * hits / (2 * hits + extra) if hits else 0.0
    return {"task_a_acc": float((called == truth).mean()), "task_a_f1": f1, "task_a_f1_macro": macro_f1(truth, called)}


def _bounds(truth: np.ndarray, found: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float] | None:
    """A 95 % interval of macro-F1, whole groups drawn; None where there is but one."""
    units = intervals.number_units(groups)
    num = int(units.max()) + 1
    if num < 2:
        return None
    names = np.unique(np.concatenate([truth, found]), return_inverse=True)[1].reshape(2, -1)
    size = int(names.max()) + 1
    tables = np.zeros((num, size, size))
    np.add.at(tables, (units, names[0], names[1]), 1)
    drawn = seeding.numpy_generator("attribution", seed).multinomial(num, np.full(num, 1 / num), DRAWS)
    counts = np.tensordot(drawn, tables, 1)
    hits, sizes = np.einsum("bkk->bk", counts), counts.sum(1) + counts.sum(2)
    with np.errstate(invalid="ignore"):
        f1 = np.nanmean(np.where(sizes > 0, 2 * hits / sizes, np.nan), axis=1)
    return intervals.interval(f1, num)


def _row(detector: str, numbers: dict[str, float]) -> dict[str, str]:
    shown = f"{numbers['attribution_f1_macro']:.3f}"
    if "attribution_f1_macro_low" in numbers:
        shown += f" [{numbers['attribution_f1_macro_low']:.3f}, {numbers['attribution_f1_macro_high']:.3f}]"
    return {
        "detector": detector,
        "task A F1": f"{numbers['task_a_f1_macro']:.3f}",
        "task A accuracy": f"{numbers['task_a_acc']:.3f}",
        "task B F1": shown,
        "task B accuracy": f"{numbers['attribution_acc']:.3f}",
        "images": str(numbers["num_attributed"]),
        "of other generators": str(numbers["num_unattributable"]),
    }


def _format(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else value or "-" if value != 0 else value
