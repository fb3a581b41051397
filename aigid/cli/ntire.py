"""Commands that answer a challenge as it wants to be answered."""

from pathlib import Path

import click

from aigid.cli import options
from aigid.cli.options import FOLDER
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.errors import InputError
from aigid.core.files import sha256, write_json

CSV, META = "predictions.csv", "predictions.meta.json"


@click.command(cls=ErrorHandlingCommand)
@click.argument("images", type=FOLDER)
@click.option("--model", "source", type=FOLDER, default=Path("data/models/featdistill"), show_default=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for predictions.csv and predictions.meta.json.")
@click.option("--streamed", is_flag=True, help="Hold one expert in memory at a time; images are decoded once for each.")
def ntire(images: Path, source: Path, out: Path, streamed: bool) -> None:
    """Score the images below IMAGES for NTIRE 2026: P(generated) by the mean of FeatDistill's experts.

    An interrupted call resumes; an image's score depends on nothing but the image.
    """
    if not images.is_dir():
        raise InputError(f"{images}: no such folder")
    import numpy as np
    import pandas as pd

    from aigid.core import tables
    from aigid.core.embeddings import OK
    from aigid.data.layouts import scan_images
    from aigid.detectors.bundle import METADATA, load_detector
    from aigid.detectors.featdistill.detector import FeatDistill
    from aigid.detectors.protocol import blank_not_finite
    from aigid.detectors.samples import Samples
    from aigid.features.extract import EncoderLoader

    detector = load_detector(source, FeatDistill)
    paths = scan_images(images, print_status).images
    if not paths:
        raise InputError(f"{images}: no images below it")
    samples = Samples(pd.DataFrame({"path": paths}), images)
    options.lock(out)
    result = blank_not_finite(detector.predict(samples, ["clean"], None if streamed else EncoderLoader()).ensemble())
    scores = np.where(result.status == OK, result.values["clean"], np.nan)
    failed = {paths[row]: f"{result.status[row]}: {result.messages[row]}" for row in result.messages}
    tables.write(pd.DataFrame({"image_name": paths, "score": scores}), out / CSV)
    metadata = {
        "images": str(images),
        "num_images": len(paths),
        "failed": failed,
        "model": sha256(source / METADATA),
        "experts": list(detector.members),
        "predictions": sha256(out / CSV),
    }
    write_json(out / META, metadata)
    options.finish(list(failed.items()))
