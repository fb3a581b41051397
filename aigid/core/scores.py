"""The scores file: one row per image and view."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigid.core import manifest, tables
from aigid.core.columns import to_text
from aigid.core.errors import InputError, parse_json
from aigid.core.files import sha256, write_json
from aigid.core.special import Floats, expit

CLEAN = "clean"
REQUIRED = ("path", "label", "generator", "split", "view", "score")
SPLITS = ("train", "val", "test")
PREFIX, PREDICTED = "class_", "predicted"  # of the columns of class probabilities, and the class decided for
DATE = "extra_date"  # of a manifest: when an image came in, 2026, 2026-05 or 2026-05-31
STRING_COLUMNS = (
    *("path", "generator", "split", "view", "source", "group", "status", "model"),
    *(manifest.ROLE, DATE, PREDICTED),
)
CATEGORIES = ("generator", "source", "split", "view", "model", "status", manifest.ROLE, DATE)  # of few distinct cells
PROBABILITY, *_ = SCALES = ("probability", "logit", "percent")
logger = logging.getLogger(__name__)
IS_DISTORTED, DISTORTIONS = DISTORTION_COLUMNS = ("extra_is_distorted", "extra_distortions")  # of NTIRE's test images
EXTRA_COLUMNS = (*DISTORTION_COLUMNS, manifest.ROLE, DATE)  # of a manifest, which its scores keep
LABEL_WORDS = {"true": 1.0, "false": 0.0}


def read(
    path: Path | str, columns: Mapping[str, str] | None = None, scale: str = PROBABILITY, compact: bool = False
) -> pd.DataFrame:
    """Return the checked rows of a ``.csv`` or ``.parquet`` file, in its order.

    ``scale`` is that of its scores, one of ``SCALES``. ``columns`` maps our names to those of another tool's file,
    ``{"score": "prob_fake"}``; a value that begins with ``=`` is a constant for every row, ``{"view": "=clean"}``.
    InputError names the row, column and value. Rows without a label, as `aigid predict` may write them, are left out.
    ``compact`` rows have a byte or two where few cells are distinct, as pandas' categories.
    """
    kinds = {"score": "number", **dict.fromkeys(CATEGORIES if compact else (), "category")}
    kinds = {(columns or {}).get(name, name): kind for name, kind in kinds.items()}
    return check(tables.read(path, (), kinds), columns, str(path), scale)


def check(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, name: str = "scores", scale: str = PROBABILITY
) -> pd.DataFrame:
    """Return the rows of a table as ``read`` gives those of a file of that name."""
    table = _labelled(_rename(table.copy(deep=False), columns or {}, name), name)
    if scale != PROBABILITY and "score" in table:
        mapped = pd.Series(to_probability(_numbers(table["score"]), scale), table.index, object)
        table["score"] = mapped.where(mapped.notna(), table["score"])  # what is no number is refused as it stands
    return _set_types(table, name)


def to_probability(values: Iterable[float], scale: str) -> Floats:
    """Return scores (N,) of a scale of ``SCALES`` as probabilities (N,); InputError for a percent that is none."""
    array = np.asarray(values, np.float64)
    if scale == "percent":
        if len(outside := array[(array < 0) | (array > 100)]):
            raise InputError(f"score {outside[0]:g}: want a percent, 0 to 100")
        return array / 100
    return expit(array) if scale == "logit" else array


def threshold_to_probability(threshold: float, scale: str) -> float:
    """Return a threshold of scores of a scale as a probability; InputError where it is none."""
    cut = float(to_probability([threshold], scale)[0])
    if not 0 <= cut <= 1:
        raise InputError(f"--threshold {threshold:g}: want a probability in [0, 1]; for others say --scale")
    return cut


def write(scores: pd.DataFrame, path: Path | str) -> None:
    """Check and write the rows as they stand, atomically; every score reads back to the same bits."""
    tables.write(validate(scores, str(path)), path)


def write_versions(path: Path | str, versions: Mapping[str, object]) -> None:
    """Write ``<path>.json``: what gave the scores in a file, with the sha256 of that file."""
    write_json(f"{path}.json", {"sha256": sha256(path), **versions})


def read_versions(path: Path | str) -> dict[str, Any]:
    """Return what ``write_versions`` wrote of a file; nothing, with a warning, where that was of other bytes."""
    try:
        versions = parse_json(Path(f"{path}.json").read_text(encoding="utf-8"))
        same = versions.pop("sha256") == sha256(path)
        {**versions["views"]}, versions["code"]["aigid"], versions["model"] + ""
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        raise InputError(f"{path}.json: does not say what gave the scores in {path}") from None
    if not same:
        logger.warning("%s.json: is of other scores than those in %s; what gave these is not known", path, path)
    return versions if same else {}


def _labelled(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "label" not in table or not len(table):
        return table
    blank = to_text(table["label"]).str.strip() == ""
    if blank.all():
        raise InputError(f"{name}: none of its {len(table)} rows has a label; there is nothing to judge them by")
    if blank.any():
        logger.warning("%s: %d of %d rows have no label; they are left out", name, blank.sum(), len(table))
    return table[~blank] if blank.any() else table


def validate(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows with every column in its type: label int8, score and ``class_*`` float64, the rest text.

    A row whose ``status`` is neither empty nor ``ok`` is an image that could not be read: it has no score and stays.
    A real image's generator is ``real`` whatever the file calls it; a fake without one is ``unknown``.
    """
    return _set_types(scores.copy(deep=False), name)


def _set_types(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check the table as ``validate`` does, in place: of 10^7 rows no column is in memory twice."""
    if missing := [column for column in REQUIRED if column not in table]:
        present = ", ".join(map(str, table.columns))
        raise InputError(f"{name}: no column {', '.join(map(repr, missing))}; found {present or 'none'}")
    if table.empty:
        raise InputError(f"{name}: no rows")
    table = table if table.index.is_unique else table.reset_index(drop=True)  # `refuse` counts rows by it
    for column in STRING_COLUMNS:
        if column in table:
            table[column] = to_text(table[column])
    for column in ("path", "view"):
        tables.refuse(table, column, table[column] == "", "want a name", name)
    tables.refuse(table, "split", ~table["split"].isin(SPLITS), f"want {', '.join(SPLITS)}", name)
    manifest.check_roles(table, name)
    _check_labels(table, name)
    _check_scores(table, name)
    tables.refuse(table, "path", tables.repeats(table, "path", "view"), "is scored twice in one view", name)
    for key, column in (("path", "label"), ("path", "split"), ("group", "split")):
        if key in table:
            tables.refuse(table, key, tables.has_several(table, key, column), f"has more than one {column}", name)
    return table.reset_index(drop=True)


def default_view(rows: pd.DataFrame) -> str:
    """Return ``clean``, or the only view; "" where there are several others."""
    views = rows["view"].unique()
    return CLEAN if CLEAN in views else str(views[0]) if len(views) == 1 else ""


def _check_labels(table: pd.DataFrame, name: str) -> None:
    label = _numbers(table["label"])
    tables.refuse(table, "label", ~label.isin((0.0, 1.0)), "want 0 (real) or 1 (generated)", name)
    table["label"] = label.astype("int8")
    is_real = table["label"] == 0
    tables.refuse(table, "generator", ~is_real & (table["generator"] == "real"), "'real' goes with label 0", name)
    names = table["generator"]
    if ((names == "") | (is_real & (names != "real"))).any():
        named = names.astype("str").replace("", "unknown").mask(is_real, "real")
        table["generator"] = named.astype("category") if isinstance(names.dtype, pd.CategoricalDtype) else named


def _check_scores(table: pd.DataFrame, name: str) -> None:
    failed = ~table["status"].isin(("", "ok")) if "status" in table else pd.Series(False, table.index)
    classes = [name for name in map(str, table.columns) if name.startswith(PREFIX)]
    if classes and PREDICTED in table:
        unknown = ~(PREFIX + table[PREDICTED]).isin(classes)
        names = ", ".join(name.removeprefix(PREFIX) for name in classes)
        tables.refuse(table, PREDICTED, unknown & ~failed, f"want one of {names}", name)
    for column in ["score", *classes]:
        value = _numbers(table[column])
        is_number = pd.api.types.is_numeric_dtype(table[column].dtype)
        blank = value.isna() if is_number else to_text(table[column]) == ""
        tables.refuse(
            table, column, ~blank & failed, "want none in a row whose status says that the image failed", name
        )
        if (missing := value.isna() & ~failed).any():
            tables.refuse(table.assign(**{column: to_text(table[column])}), column, missing, "want a number", name)
        outside = ~value.between(0, 1) & ~failed
        hint = _scale_hint(value) if column == "score" else ""
        tables.refuse(table, column, outside, f"want a probability in [0, 1]{hint}", name)
        table[column] = value


def _scale_hint(values: pd.Series) -> str:
    """Return what scores beyond [0, 1] seem to be, by their range."""
    low, high = values.min(), values.max()
    if low >= 0 and 1 < high <= 100:
        return "; if the scores are percents, say so by --scale percent"
    return "; if the scores are logits, say so by --scale logit" if low < 0 and np.isfinite([low, high]).all() else ""


def _numbers(column: pd.Series) -> pd.Series:
    """Return the column as float64, correctly rounded; what is no number becomes NaN."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    return pd.Series(np.fromiter(map(_number, column), np.float64, len(column)), column.index)


def _number(value: Any) -> float:
    try:
        return LABEL_WORDS[word] if (word := str(value).lower()) in LABEL_WORDS else float(value)
    except (TypeError, ValueError):
        return np.nan


def _rename(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    source = table.copy(deep=False)
    for ours, theirs in columns.items():
        if not theirs.startswith("=") and theirs not in source:
            raise InputError(f"{name}: no column {theirs!r} to read as {ours!r}; found {', '.join(source.columns)}")
        table[ours] = theirs[1:] if theirs.startswith("=") else source[theirs]
    return table
