"""Lines that say why scores, or a comparison of scores, are to be read with care."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.scores import CLEAN
from aigid.metrics.classification import MAX_REVERSED, Ranking


def on_scores(test: pd.DataFrame, view: str, ranking: Ranking, details: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each reason to read a detector's test scores with care; ``ranking`` is of the headline view."""
    views = sorted(test["view"].unique())
    if not view:
        yield f"no view 'clean' among {', '.join(views)}: there is no headline"
    elif view != CLEAN:
        yield f"no view 'clean': the headline is view {view!r}"
    images = {str(name): frozenset(part) for name, part in test.groupby("view")["path"]} if len(views) > 1 else {}
    if odd := [name for name in images if view and images[name] != images[view]]:
        yield f"other images than in view {view!r}: {', '.join(odd)}; their drop is not like for like"
    if num := int(test["score"].isna().sum()):
        yield f"{num} of {len(test)} test rows are images that could not be read; they are left out"
    if ranking.has_both and ranking.reals[0] == ranking.fakes[0] and len(ranking.thresholds) == 1:
        yield f"every image scores {ranking.reals[0]:g}: the detector says nothing"
    headline = details[(details["view"] == view) & (details["kind"] == "all")]
    for _, row in headline[headline["auroc_high"] < MAX_REVERSED].iterrows():
        value = f"AUROC {row['auroc']:.3f} [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]"
        yield f"{value} lies under chance: does a high score mean real? P(generated) is then 1 - score"
    if 0 < len(ranking.reals) < 100:
        yield f"{len(ranking.reals)} reals: TPR at 1 % FPR allows no false alarm at all"


def on_versions(versions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every two scores files, by name, of other versions of one detector, or of another code."""
    for (a, first), (b, second) in combinations(((name, known) for name, known in versions.items() if known), 2):
        models = [known["model"] for known in (first, second)]
        same = len({model.partition("@")[0] for model in models}) == 1
        if same and models[0] != models[1]:
            yield f"{a} and {b}: two versions of one detector, {' and '.join(models)}"
        codes = [known["code"] for known in (first, second)]
        if codes[0]["aigid"] != codes[1]["aigid"] or (same and codes[0] != codes[1]):
            words = [f"aigid {code['aigid']} ({code.get('sources_sha256', '')[:12]})" for code in codes]
            yield f"{a} and {b}: scored by other code, {' and '.join(words)}"


def require_same_view(first: Mapping[str, Any], second: Mapping[str, Any], view: str) -> None:
    """Raise InputError where two scores files mean different things by a view."""
    digests = [known.get("views", {}).get(view) for known in (first, second)]
    if all(digests) and digests[0] != digests[1]:
        raise InputError(f"view {view!r} is defined in two ways, {' and '.join(digests)}: score one of them again")


def require_one_model(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows; InputError where they were scored by more than one bundle."""
    names = scores["model"].unique() if "model" in scores else ()
    models = sorted(model for model in names if re.fullmatch(r".+@[0-9a-f]{16}", model))
    if len(models) > 1:
        raise InputError(f"scores of {len(models)} bundles, {', '.join(models)}: evaluate the rows of each alone")
    return scores
