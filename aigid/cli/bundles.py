"""Commands on bundles: import a published detector, export one, push it to the hub, write its model card."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER, PATH
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.errors import InputError, require_package
from aigid.prediction import DEFAULT_BUNDLE, EXPORTED

if TYPE_CHECKING:
    from aigid.metrics.decisions import EvaluationSettings
    from aigid.prediction.exported import Precision


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
    from aigid.importers import ImportRequest, get_importer

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
@options.weights
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
    from aigid.prediction import hub, inputs

    options.check_bundles([source])
    if out.suffix != EXPORTED:
        raise InputError(f"--onnx {out}: want a name that ends in {EXPORTED}")
    require_package("onnx", "aigid export")
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


@click.command(cls=ErrorHandlingCommand)
@click.argument("bundle", type=FOLDER)
@click.option("--results", type=FOLDER, required=True, help="Holds metrics/ and details/, as of `aigid evaluate`.")
@click.option("--detector", help="Its name there.  [default: the bundle's]")
@click.option("--dataset", help="What it was judged on.  [default: the dataset that it learnt from]")
@click.option("--manifest", "manifest_path", type=FILE, help="Of what it learnt from.  [default: `aigid fetch`'s list]")
@click.option("--edits", type=FILE, help="A table of false alarms on edited photographs to quote, .csv.")
@click.option("--attacks", "attacked", type=FILE, help="A table of attacks to quote, of the stage attack, .csv.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day that the card states.")
@click.option("--out", type=FILE, help="The card, .md.  [default: standard output]")
def card(
    bundle: Path,
    results: Path,
    detector: str | None,
    dataset: str | None,
    manifest_path: Path | None,
    edits: Path | None,
    attacked: Path | None,
    date: datetime,
    out: Path | None,
) -> None:
    """Write the model card of BUNDLE: what it learnt from, what it is worth, where it fails.

    Equal arguments give equal bytes: the date is one of them.
    """
    from aigid.core import manifest
    from aigid.core.files import write_text
    from aigid.data import lists
    from aigid.evaluation.comparison import SHALLOW
    from aigid.evaluation.evaluate import read_results
    from aigid.report import cards, risks

    metadata = cards.read_metadata(bundle)
    learnt_from = metadata["origin"]["training"].get("dataset", "")
    name, dataset = detector or metadata["detector"], dataset or learnt_from
    if manifest_path is None and learnt_from not in lists.known_lists():
        raise InputError(f"{bundle}: learnt from {learnt_from!r}, which is no list of `aigid fetch`: want --manifest")
    table = manifest.read(manifest_path) if manifest_path else lists.read_list(learnt_from).table
    if (images := cards.training_images(metadata, table)) is None:
        raise InputError(f"{manifest_path or learnt_from}: holds other images than those that {bundle} learnt from")
    by_cell = read_results(results, [(name, dataset)])
    evaluated = {key: by_cell[key, dataset] for key in (name, SHALLOW) if (key, dataset) in by_cell}
    quoted = risks.read_edits(edits) if edits else None, risks.read_attacks(attacked) if attacked else None
    text = cards.markdown(name, metadata, {dataset: evaluated}, images, f"{date:%Y-%m-%d}", *quoted)
    write_text(out, text) if out else click.echo(text, nl=False)
