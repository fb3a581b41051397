"""The test sets of a scores file: a view's rows, and each generator's fakes with the reals they are judged with."""

import pandas as pd

from aigid.core.errors import InputError


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
