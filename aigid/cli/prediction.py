"""Commands that apply detectors: to images, over HTTP, and to a challenge's images as it wants to be answered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.errors import InputError
from aigid.core.files import sha256, write_json
from aigid.core.limits import MAX_PIXELS
from aigid.prediction import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from aigid.metrics.decisions import EvaluationSettings
    from aigid.prediction.predict import Predictor
    from aigid.prediction.verdict import Prediction


MAX_PRINTED = 1000  # lines of the table
POSITIVE = click.IntRange(1)
models = click.option(
    "--model",
    "sources",
    multiple=True,
    type=options.BUNDLE,
    help="A bundle, or several: folders, hf://USER/NAME[@REVISION], exported .onnx.  [default: that of the package]",
)
CSV, META = "predictions.csv", "predictions.meta.json"  # of `ntire`


@click.command(cls=ErrorHandlingCommand)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@models
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image and bundle.")
@click.option("--csv", "out", type=FILE, help="Write a scores file, .csv or .parquet, for `aigid evaluate`.")
@click.option(
    "--stable",
    "check_stability",
    is_flag=True,
    help="Check that the verdict survives JPEG, cropping, blur, resizing and chains of these.",
)
@click.option("--explain", type=FOLDER, help="Folder for heat maps: what in each image speaks for generated.")
@click.option("--root", type=FOLDER, help="The folder that the paths of a manifest or of `-` start from.")
@options.weights
@click.option("--calibrator", type=FILE, help="Calibrate by another run's calibration/*.json.")
@options.decisions
def predict(
    paths: tuple[str, ...],
    sources: tuple[Path | str, ...],
    as_json: bool,
    out: Path | None,
    check_stability: bool,
    explain: Path | None,
    root: Path | None,
    weights: str | None,
    calibrator: Path | None,
    settings: EvaluationSettings,
) -> None:
    """Real or generated? PATH is an image, a folder, a glob, a manifest, or - for a list of paths on stdin."""
    from aigid.core import tables
    from aigid.prediction import inputs

    if as_json and out:
        raise InputError("--json and --csv do not go together")
    options.check_bundles(sources)
    _check_out(sources, out)
    images = inputs.collect_inputs(paths, root, sys.stdin.buffer if inputs.STDIN in paths else (), print_status)
    if out:
        tables.check_names(images["path"], out)
    from aigid.metrics import decisions
    from aigid.prediction import hub
    from aigid.prediction import predict as library

    folders = [hub.local(source) for source in sources or (DEFAULT_BUNDLE,)]
    rule = decisions.load(calibrator) if calibrator else None
    predictors = [library.Predictor(folder, settings, weights, rule) for folder in folders]
    _print_operating_point(predictors)
    rows = library.predict(predictors, images["path"].tolist(), (), explain or False, check_stability)
    options.finish(_print_json(rows) if as_json else _write(rows, images, predictors, out))


def _check_out(sources: Sequence[Path | str], out: Path | None) -> None:
    from aigid.core import tables

    if out:
        tables.check_suffix(out)
        if len(sources) > 1:
            raise InputError(f"--csv {out}: a scores file is of one bundle, not of {len(sources)}")


def _print_operating_point(predictors: list[Predictor]) -> None:
    for predictor in predictors:
        for line in predictor.limitations:
            print_status(f"{predictor.folder}: {line}")
        point = predictor.operating_point
        if point["calibrated"]:
            print_status(
                f"{predictor.folder}: threshold {point['threshold']:.3f}, at which {point['fpr_val']:.1%} of its"
                f" real validation images were called generated (at most {point['fpr_bound']:.0%} of others like them)"
            )


def _print_json(predictions: Iterator[list[Prediction]]) -> list[tuple[str, str]]:
    failed = {}
    for row in predictions:
        for prediction in row:
            click.echo(json.dumps(prediction.to_json(), allow_nan=False))
            if not prediction.ok:
                failed[prediction.path] = f"{prediction.status}: {prediction.error}"
    return list(failed.items())


def _write(
    predictions: Iterator[list[Prediction]], images: pd.DataFrame, predictors: list[Predictor], out: Path | None
) -> list[tuple[str, str]]:
    """Write a scores file, or print a table of the first ``MAX_PRINTED`` images."""
    from aigid.core import scores, tables
    from aigid.core.console import console
    from aigid.detectors import score_files
    from aigid.prediction import verdict

    rows = list(predictions)
    if out:
        table, model = verdict.scores_file(images, [row[0] for row in rows]), predictors[0].model
        tables.write(table, out)
        scores.write_versions(out, score_files.versions(model.identity, type(model.detector), table["view"]))
    else:
        console().print(verdict.table(rows[:MAX_PRINTED], [predictor.folder.name for predictor in predictors]))
        if len(rows) > MAX_PRINTED:
            print_status(f"{len(rows) - MAX_PRINTED} more not shown; --csv or --json has all")
    return [(row[0].path, f"{row[0].status}: {row[0].error}") for row in rows if not row[0].ok]


@click.command(cls=ErrorHandlingCommand)
@models
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@options.weights
@click.option("--allow-urls", is_flag=True, help="Fetch images from public addresses that requests name.")
@click.option("--api-keys", type=FILE, help="A file with the sha256 of each key that is let in, one a line.")
@click.option("--max-bytes", default=32 * 2**20, show_default=True, type=POSITIVE, help="Of a file.")
@click.option("--max-pixels", default=MAX_PIXELS, show_default=True, type=POSITIVE, help="Of an image.")
@click.option("--max-files", default=16, show_default=True, type=POSITIVE, help="In a request.")
@click.option(
    "--max-seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="To send a request, and again to answer it.",
)
@click.option(
    "--max-requests", default=256, show_default=True, type=POSITIVE, help="That wait for an answer; others get 429."
)
@click.option("--max-memory", default=2**30, show_default=True, type=POSITIVE, help="Bytes of all files that wait.")
@options.decisions
def serve(
    sources: tuple[Path | str, ...],
    host: str,
    port: int,
    weights: str | None,
    allow_urls: bool,
    api_keys: Path | None,
    max_bytes: int,
    max_pixels: int,
    max_files: int,
    max_seconds: float,
    max_requests: int,
    max_memory: int,
    settings: EvaluationSettings,
) -> None:
    """Give verdicts over HTTP, and a page that asks for them; stores nothing, and of an image logs its sha256."""
    sources = sources or (DEFAULT_BUNDLE,)
    options.check_bundles(sources)
    from aigid.serve import limits, server

    keys = limits.ApiKeys(api_keys) if api_keys else None
    bounds = limits.Limits(max_bytes, max_pixels, max_files, max_seconds, max_requests, max_memory)
    server.serve(host, port, sources, settings, weights, bounds, keys, allow_urls)


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
