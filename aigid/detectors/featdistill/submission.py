"""A folder of images in, NTIRE's answer out: ``predictions.csv`` and ``predictions.meta.json``.

Embeddings go into the row cache shard by shard, so that a call that was cut off goes on, and what an image gets
depends on neither its company nor its place.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import embeddings, tables
from aigid.core.errors import InputError
from aigid.core.files import sha256, write_json
from aigid.data.layouts import scan
from aigid.detectors.bundle import Bundle
from aigid.detectors.featdistill import detector
from aigid.features.extract import EncoderLoader

CSV, META = "predictions.csv", "predictions.meta.json"


def predict(model: Bundle, source: Path, folder: Path, out: Path, streamed: bool = False) -> dict[str, str]:
    """Score ``folder`` with the model of folder ``source`` and write both files; return failures by path."""
    paths = scan(folder).images
    if not paths:
        raise InputError(f"{folder}: no images below it")
    images = pd.DataFrame({"path": paths})
    result = detector.predict(model.detector, images, folder, ["clean"], 0, None if streamed else EncoderLoader())
    scores = np.where(result.status == embeddings.OK, result.scores["clean"][detector.ENSEMBLE], np.nan)
    failed = {sample.path: f"{sample.status}: {sample.message}" for sample in result.failed}
    tables.write(pd.DataFrame({"image_name": paths, "score": scores}), out / CSV)
    metadata = {
        "images": str(folder),
        "num_images": len(paths),
        "failed": failed,
        "model": sha256(source / "model.json"),
        "experts": list(model.detector.members),
        "predictions": sha256(out / CSV),
    }
    write_json(out / META, metadata)
    return failed
