"""Commands that apply detectors to images, and that import published ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER, PATH
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.errors import InputError
from aigid.prediction import DEFAULT_BUNDLE, EXPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from aigid.metrics.decisions import EvaluationSettings
    from aigid.prediction.exported import Precision
    from aigid.prediction.output import Prediction
    from aigid.prediction.predict import Predictor


MAX_PRINTED = 1000  # lines of the table


@click.command(cls=ErrorHandlingCommand)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--model",
    "sources",
    multiple=True,
    type=options.BUNDLE,
    help="A bundle, or several: folders, hf://USER/NAME[@REVISION], exported .onnx.  [default: that of the package]",
)
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
@click.option("--weights", help="Local weights of the bundle's backbone.")
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
    check_bundles(sources)
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


def check_bundles(sources: Sequence[Path | str]) -> None:
    """Raise InputError where a folder holds no bundle; an address is looked up when it is loaded."""
    from aigid.core.bundle_files import METADATA

    for folder in sources:
        if isinstance(folder, Path) and not (folder if folder.suffix == EXPORTED else folder / METADATA).is_file():
            raise InputError(f"--model {folder}: no bundle; `dvc repro` makes some, `aigid import` brings others")


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
    from aigid.prediction import output

    rows = list(predictions)
    if out:
        table, model = output.scores_file(images, [row[0] for row in rows]), predictors[0].model
        tables.write(table, out)
        scores.write_versions(out, score_files.versions(model.identity, type(model.detector), table["view"]))
    else:
        console().print(output.table(rows[:MAX_PRINTED], [predictor.folder.name for predictor in predictors]))
        if len(rows) > MAX_PRINTED:
            print_status(f"{len(rows) - MAX_PRINTED} more not shown; --csv or --json has all")
    return [(row[0].path, f"{row[0].status}: {row[0].error}") for row in rows if not row[0].ok]


@click.command("import", cls=ErrorHandlingCommand)
@click.argument("detector")
@click.argument("model", required=False)
@click.option("--weights", type=PATH, help="The published file with the detector's weights; featdistill's folder.")
@click.option(
    "--fake-label", "fake_labels", multiple=True, help="hf, linear: the class, or classes, that mean generated."
)
@click.option(
    "--backbone", help="linear: its backbone, a name or address; of others the same with other preprocessing."
)
@click.option("--normalize", is_flag=True, help="linear: the head is of embeddings scaled to length 1.")
@click.option("--out", type=FOLDER, help="The bundle.  [default: data/models/DETECTOR]")
def import_detector(
    detector: str,
    model: str | None,
    weights: Path | None,
    fake_labels: tuple[str, ...],
    backbone: str | None,
    normalize: bool,
    out: Path | None,
) -> None:
    """Make a bundle of a published DETECTOR; an unknown name lists the known. MODEL (of hf) is a hub id or a folder."""
    from aigid.core.folders import require_replaceable
    from aigid.detectors import bundle
    from aigid.importers.base import ImportRequest, get_importer

    out, importer = out or Path("data/models", detector), get_importer(detector)
    require_replaceable(out, bundle.is_bundle, "bundle")
    if normalize and detector != "linear":
        raise InputError(f"--normalize: {detector} knows itself how embeddings are scaled; it is for linear")
    imported = importer(ImportRequest(model, weights, fake_labels, backbone, normalize))
    bundle.save(imported, out)
    print_status(f"{out}: {imported.origin.source}; calibrated: false, as no validation images came with it")


@click.command(cls=ErrorHandlingCommand)
@click.argument("folder", metavar="BUNDLE", type=FOLDER)
@click.argument("address")
@click.option("--card", type=FILE, help="The text of its model card, .md.  [default: BUNDLE.md, else what it says]")
@click.option("--license", "licence", default="other", show_default=True, help="The hub's name of a license.")
def push(folder: Path, address: str, card: Path | None, licence: str) -> None:
    """Upload BUNDLE to the hub, ADDRESS being hf://USER/NAME, and print the address of the commit."""
    from aigid.prediction import hub

    path = card or folder.with_name(f"{folder.name}.md")
    body = path.read_text(encoding="utf-8") if card or path.is_file() else ""
    click.echo(hub.push(folder, address, body, licence))


@click.command(cls=ErrorHandlingCommand)
@click.argument("source", metavar="[BUNDLE]", type=options.BUNDLE, default=str(DEFAULT_BUNDLE))
@click.option("--onnx", "out", type=FILE, required=True, help="The file to write, .onnx.")
@click.option("--images", type=PATH, help="Images to compare on: a file, folder or manifest.  [default: drawn ones]")
@click.option("--fp16", "precision", flag_value="float16", help="Store the encoder's weights in float16.")
@click.option("--int8", "precision", flag_value="int8", help="Store the encoder's weights in int8.")
@click.option("--weights", help="Local weights of the bundle's backbone.")
@options.decisions
def export(
    source: Path | str,
    out: Path,
    images: Path | None,
    precision: Precision | None,
    weights: str | None,
    settings: EvaluationSettings,
) -> None:
    """Write BUNDLE (or the package's own) as one ONNX graph, pixels to probability, if its answers are the same."""
    from aigid.core import extras
    from aigid.prediction import hub, inputs

    check_bundles([source])
    if out.suffix != EXPORTED:
        raise InputError(f"--onnx {out}: want a name that ends in {EXPORTED}")
    extras.require("onnx", "aigid export")
    table = inputs.collect_inputs([str(images)], None, (), print_status) if images else None
    paths = [] if table is None else table["path"].tolist()
    labels = {} if table is None or "label" not in table else dict(zip(map(str, paths), table["label"], strict=True))
    labels = {path: int(label) for path, label in labels.items() if str(label) in ("0", "1")}
    from aigid.prediction import export as library
    from aigid.prediction.predict import Predictor

    predictor = Predictor(hub.local(source), settings, weights)
    written, failed = library.export(predictor, out, paths, precision or "float32", labels)
    starts = "any image" if written.input == "image" else "an image resized and cropped by its preprocess settings"
    ranking = "; AUROC {:.4f}, of the file {:.4f}".format(*written.auroc) if written.auroc else ""
    print_status(
        f"{out}: opset {written.opset}, takes {starts}; on {written.num_images} images P(generated) differs by at most"
        f" {written.parity:.1g} and {written.other_verdicts} verdicts do{ranking}"
    )
    options.finish(list(failed.items()))
