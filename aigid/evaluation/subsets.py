"""The test sets of a scores file: a view's rows, each generator's fakes with their reals, and what test alone has."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from aigid.core.columns import ranks
from aigid.core.errors import InputError
from aigid.core.escape import has_surrogates
from aigid.core.scores import CATEGORIES, default_view
from aigid.metrics.resampling import group_codes

UNSEEN = ("generators", "generators and sources")  # of test alone


def compact(scores: pd.DataFrame, strata: Sequence[str], named: bool) -> pd.DataFrame:
    """Return the columns that are evaluated, of few bytes a row: numbers stand for groups and, unless ``named``, paths.

    The judge takes many subsets of the rows, each of which is a copy.
    """
    texts = [name for name in CATEGORIES if name in scores and name != "status"]
    columns = dict.fromkeys(["label", "score", *texts, *(name for name in strata if name in scores)])
    named_well = [name for name in texts if not any(map(has_surrogates, scores[name].unique()))]  # pandas hashes UTF-8
    table = scores[[*columns]].astype(dict.fromkeys(named_well, "category"))
    table["path"] = scores["path"] if named else ranks(scores["path"])
    return table.assign(group=group_codes(scores)) if "group" in scores and "group" not in strata else table


def test_and_validation(scores: pd.DataFrame) -> tuple[pd.DataFrame, str, pd.DataFrame]:
    """Return the test rows, the headline's view, and the validation rows of that."""
    if (test := scores[scores["split"] == "test"]).empty:
        raise InputError(f"no rows of split 'test' to evaluate; found {', '.join(sorted(scores['split'].unique()))}")
    view = default_view(test)
    return test, view, scores[(scores["split"] == "val") & (scores["view"] == view)]


def parts(rows: pd.DataFrame, column: str) -> Iterable[tuple[Any, pd.DataFrame]]:
    """Return the rows with each value of a column; of one value the rows themselves, which are not copied."""
    names = rows[column].unique()
    return [(names[0], rows)] if len(names) == 1 else rows.groupby(column)


def of_view(test: pd.DataFrame, view: str) -> pd.DataFrame:
    """Return the rows of a view; InputError without any."""
    images = test[test["view"] == view]
    if images.empty:
        raise InputError(f"no test rows of view {view!r}; found {', '.join(sorted(set(test['view']))) or 'none'}")
    return images


def by_test_set(images: pd.DataFrame, require_reals: bool = True) -> list[tuple[str, pd.DataFrame]]:
    """Return each generator's fakes with the reals whose ``source`` bears its name; with all reals where none does."""
    reals, fakes = images[images["label"] == 0], images[images["label"] == 1]
    if fakes.empty or (require_reals and reals.empty):
        raise InputError(f"needs both classes; found {len(reals)} reals and {len(fakes)} fakes")
    paired = "source" in images and set(fakes["generator"]) <= set(reals["source"])
    return [
        (str(name), pd.concat([reals[reals["source"] == name] if paired else reals, part]))
        for name, part in fakes.groupby("generator")
    ]


def unseen(manifest: pd.DataFrame) -> tuple[set[str], set[str]]:
    """Return the paths of the fakes whose generator, and of the reals whose source, no split but test has.

    None of a class where no other split has a generator, or a source: then all would be.
    """
    known, fake = manifest[manifest["split"] != "test"], manifest["label"] == 1
    paths = []
    for column, rows in (("generator", fake), ("source", ~fake)):
        names = manifest[column] if column in manifest else pd.Series("", manifest.index)
        others = set(names[known.index][rows[known.index]]) - {""}
        paths.append(set(manifest.loc[rows & ~names.isin([*others, ""]), "path"]) if others else set())
    return paths[0], paths[1]


def unseen_parts(images: pd.DataFrame, manifest: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the fakes of generators in test alone, with all reals and with those of sources in test alone.

    By a name of ``UNSEEN``; what lacks a class is left out.
    """
    fakes, reals = (images["path"].isin(paths) for paths in unseen(manifest))
    parts = zip(UNSEEN, (images[fakes | (images["label"] == 0)], images[fakes | reals]), strict=True)
    return [(name, part) for name, part in parts if part["label"].nunique() == 2]
