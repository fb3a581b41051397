"""The command that writes a model card."""

from datetime import datetime
from pathlib import Path

import click

from aigid.cli.options import FILE, FOLDER
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError


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
    from aigid.report import attacks, cards, false_alarms

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
    quoted = false_alarms.read(edits) if edits else None, attacks.read(attacked) if attacked else None
    text = cards.markdown(name, metadata, {dataset: evaluated}, images, f"{date:%Y-%m-%d}", *quoted)
    write_text(out, text) if out else click.echo(text, nl=False)
