"""Metrics over time: test images in dated batches, with intervals, and the batches from which a metric is another."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.scores import DATE
from aigid.evaluation import breakdown
from aigid.metrics import change_points
from aigid.metrics.resampling import group_codes

KIND = "date"  # of rows of ``breakdown_table`` whose names are batches
LEVEL = 0.05  # of a false alarm in any of the metrics
MAX_DATES = 200  # that are batches by themselves
FORMS = {1: "%Y", 2: "%Y-%m", 3: "%Y-%m-%d"}  # by the parts of a date
PERIODS: dict[str, tuple[int, Callable[[date], str]]] = {  # the parts that a date needs, and its batch
    "day": (3, date.isoformat),
    "week": (3, lambda day: "{}-W{:02}".format(*day.isocalendar()[:2])),
    "month": (2, lambda day: f"{day:%Y-%m}"),
    "quarter": (2, lambda day: f"{day:%Y}-Q{(day.month + 2) // 3}"),
    "year": (1, lambda day: f"{day:%Y}"),
}
Change = dict[str, str | float]  # metric, date (of the first batch), before, after (means over batches), p


class Timeline(NamedTuple):
    """Rows of ``breakdown_table`` by batch, and the changes by metric and date; or ``reason`` why there are none."""

    batches: pd.DataFrame
    changes: list[Change] | None
    num_undated: int = 0
    reason: str = ""

    def metrics(self) -> dict[str, float]:
        """Return the flat metrics: the number of batches, and of the changes of each metric."""
        if self.changes is None:
            return {}
        names = [change["metric"] for change in self.changes]
        counts = {f"num_changes_{name}": names.count(name) for name in change_points.METRICS}
        return {"num_batches": len(self.batches), **counts}

    def warnings(self) -> Iterator[str]:
        """Yield a line for each change, on images without a date, and on dates that make no batches."""
        if self.reason:
            yield f"nothing is shown over time: {self.reason}"
        for change in self.changes or ():
            values = f"{change['before']:.3f} before, {change['after']:.3f} since"
            yield f"{change['metric']} changes with {change['date']}: {values} (p {change['p']:.3f})"
        if self.num_undated:
            yield f"{self.num_undated} test images have no date: they are not in what is shown over time"


def timeline(
    images: pd.DataFrame, thresholds: breakdown.Values, seed: int, n_bootstrap: int, period: str | None
) -> Timeline | None:
    """Return the metrics over time of one view's test rows; None where none has a date in ``extra_date``.

    A batch is a ``period``, a key of ``PERIODS``, or each date as it is written. Where nobody asked for a period, dates
    that make no batches, or more than ``MAX_DATES``, are no error. The false positive rate that may change is that at
    the threshold ``operating``, else ``05``.
    """
    if DATE not in images or (images[DATE] == "").all():
        return None
    dated = images[images[DATE] != ""]
    try:
        batches = to_batches(dated.set_index("path")[DATE].astype("str"), period)
    except InputError as error:
        if period:
            raise
        return Timeline(breakdown.to_table([]), None, reason=str(error))
    dated = dated.assign(**{KIND: batches.to_numpy()})
    rows = [
        breakdown.pooled(str(part["view"].iloc[0]), KIND, str(name), part, thresholds, seed, n_bootstrap)
        for name, part in dated.groupby(KIND)
    ]
    changes = find_changes(dated, thresholds.get("operating", thresholds["05"]), seed)
    return Timeline(breakdown.to_table(rows), changes, len(images) - len(dated))


def to_batches(dates: pd.Series, period: str | None) -> pd.Series:
    """Return the batch of each image's date, images being the index; InputError naming one whose date is none."""
    days, parts = dates.map(_parse), dates.str.count("-") + 1
    _refuse(dates, days.isna(), "want a date: 2026, 2026-05 or 2026-05-31")
    needed, batch = PERIODS[period] if period else (parts.iloc[0], lambda day: day.strftime(FORMS[parts.iloc[0]]))
    wrong = parts < needed if period else parts != needed
    of_period = f"want a date with more parts for batches by {period}"
    _refuse(dates, wrong, of_period if period else "other dates have another form: name a period")
    if not period and (num := dates.nunique()) > MAX_DATES:
        raise InputError(f"column {DATE}: {num} dates: name a period")
    return pd.Series([batch(day) for day in days], dates.index)


def _refuse(dates: pd.Series, bad: pd.Series, message: str) -> None:
    if num := int(bad.sum()):
        path, text = next(dates[bad].items())
        more = f" ({num} such images)" if num > 1 else ""
        raise InputError(f"{str(path)!r}, column {DATE}: {text!r}: {message}{more}")


def _parse(text: str) -> date | None:
    if not re.fullmatch(r"[1-9][0-9]{3}(-[0-9]{2}){0,2}", text):
        return None
    try:
        return date.fromisoformat((text + "-01-01")[:10])
    except ValueError:
        return None


def find_changes(dated: pd.DataFrame, threshold: float, seed: int) -> list[Change]:
    """Return the changes of AUROC, FPR and calibration error over the batches in the column ``date``."""
    rows = dated[dated["score"].notna()]
    names, batch = np.unique(rows[KIND].to_numpy(str), return_inverse=True)
    scores = rows["score"].to_numpy(np.float64)
    images = change_points.images_of(rows["label"].to_numpy(), scores, threshold, batch, group_codes(rows))
    changes: list[Change] = []
    for metric, compute in change_points.METRICS.items():
        rng = seeding.numpy_generator("over time", seed, metric)
        splits = change_points.change_points(metric, images, LEVEL / len(change_points.METRICS), rng)
        series = compute(images, batch, len(names))
        edges = pairwise([0, *(first for first, _ in splits), len(names)])
        levels = pairwise(change_points.mean(series, *edge) for edge in (edges if splits else ()))
        for (first, p), (before, after) in zip(splits, levels, strict=True):
            changes.append({"metric": metric, "date": str(names[first]), "before": before, "after": after, "p": p})
    return changes
