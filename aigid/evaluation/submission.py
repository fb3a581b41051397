"""The answer file of the Defactify 4 challenge."""

from collections.abc import Sequence

import pandas as pd

from aigid.errors import InputError
from aigid.evaluation.published import attributed
from aigid.evaluation.scores import CLEAN

CLASSES = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")  # Label_B 0 to 5


def submission(scores: pd.DataFrame, classes: Sequence[str] = CLASSES) -> list[dict[str, int | str]]:
    """One record ``index, caption, Label_A, Label_B`` per test image, in the order of ``index``.

    ``classes`` names Label_B 0, 1, ... ; ``index`` is the number that ends the file's name.
    """
    images = scores[(scores["split"] == "test") & (scores["view"] == CLEAN) & scores["score"].notna()]
    index = images["path"].str.extract(r"(\d+)\.[^./]*$")[0]
    if index.isna().any():
        raise InputError(
            f"path {images['path'][index.isna()].iloc[0]!r}: Defactify's index is the number ending the name"
        )
    captions = images["caption"] if "caption" in images else pd.Series("", images.index)
    names = attributed(images)
    if unknown := sorted(set(names) - set(classes)):
        raise InputError(f"class {str(unknown[0])!r}: Label_B numbers {', '.join(classes)}")
    label_b = [list(classes).index(name) for name in names]
    rows = zip(index.astype(int), captions, (images["score"] > 0.5).astype(int), label_b, strict=True)
    return [dict(zip(("index", "caption", "Label_A", "Label_B"), row, strict=True)) for row in sorted(rows)]
