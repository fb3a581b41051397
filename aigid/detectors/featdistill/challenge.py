"""A folder of images in, NTIRE's answer out: ``predictions.csv`` and ``predictions.meta.json``.

Embeddings are kept in the row cache shard by shard, so that a call that was cut off goes on, and what an image gets
depends on neither its company nor its place.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid import store
from aigid.base import tables
from aigid.base.errors import InputError
from aigid.base.files import sha256, write_json
from aigid.data.layouts.walk import walk
from aigid.detectors.base.models import Model
from aigid.detectors.featdistill import scoring
from aigid.features.extract import Towers

CSV, META = "predictions.csv", "predictions.meta.json"


def predict(model: Model, source: Path, folder: Path, out: Path, streamed: bool = False) -> dict[str, str]:
    """Write both files; why images have no score, by path. ``source`` is the model's folder, ``folder`` the images'."""
    paths = walk(folder).images
    if not paths:
        raise InputError(f"{folder}: no images below it")
    images = pd.DataFrame({"path": paths})
    said = scoring.say(model.detector, images, folder, ["clean"], 0, None if streamed else Towers())
    scores = np.where(said.status == store.OK, said.scores["clean"][scoring.ENSEMBLE], np.nan)
    failed = {sample.path: f"{sample.status}: {sample.message}" for sample in said.failed}
    tables.write(pd.DataFrame({"image_name": paths, "score": scores}), out / CSV)
    about = {
        "images": str(folder),
        "num_images": len(paths),
        "failed": failed,
        "model": sha256(source / "model.json"),
        "experts": list(model.detector.members),
        "predictions": sha256(out / CSV),
    }
    write_json(out / META, about)
    return failed
