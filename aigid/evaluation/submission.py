"""The answer file of the Defactify 4 challenge: task A, real or generated, is derived from task B, which generator."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.files import atomic_write, write_json
from aigid.core.scores import CLEAN
from aigid.evaluation.published import attribution_metrics

CLASS_NAMES = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")  # Label_B 0 to 5
Submission = list[dict[str, int | str]]


def submission(scores: pd.DataFrame, classes: Sequence[str] = CLASS_NAMES) -> Submission:
    """One record ``index, caption, Label_A, Label_B`` per test image, in the order of ``index``.

    ``classes`` names Label_B 0, 1, ... ; Label_A is 1 unless Label_B is 0; ``index`` is the number that ends the
    file's name. InputError where the scores lack a class, have one more, or an image's name ends in no number.
    """
    images = scores[(scores["split"] == "test") & (scores["view"] == CLEAN) & scores["score"].notna()]
    there = [str(column).removeprefix("class_") for column in scores if str(column).startswith("class_")]
    if lacking := [name for name in classes if name not in there]:
        raise InputError(f"answer: the scores have no column class_{lacking[0]}; found {', '.join(there) or 'none'}")
    if unknown := [name for name in there if name not in classes]:
        raise InputError(f"answer: class {unknown[0]!r}: Label_B numbers {', '.join(classes)}")
    index = images["path"].str.extract(r"(\d+)\.[^./]*$")[0]
    if index.isna().any():
        raise InputError(
            f"path {images['path'][index.isna()].iloc[0]!r}: Defactify's index is the number ending the name"
        )
    captions = images["caption"] if "caption" in images else pd.Series("", images.index)
    label_b = [list(classes).index(name) for name in attribution_metrics(images)]
    rows = sorted(zip(index.astype(int), captions, label_b, strict=True))
    return [{"index": at, "caption": text, "Label_A": int(b > 0), "Label_B": b} for at, text, b in rows]


def write(answer: Submission, folder: Path | str, name: str) -> None:
    """Write ``<name>.json`` and ``<name>.zip``, which holds the same as ``answer.json`` and is handed in."""
    write_json(Path(folder, f"{name}.json"), answer)
    text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    with atomic_write(Path(folder, f"{name}.zip")) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("answer.json", (1980, 1, 1, 0, 0, 0)), text)
