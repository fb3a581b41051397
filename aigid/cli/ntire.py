"""Commands that answer a challenge as it wants to be answered."""

from pathlib import Path

import click

from aigid.cli.options import FOLDER
from aigid.core.console import ErrorHandlingCommand, report_failures
from aigid.core.errors import InputError


@click.command(cls=ErrorHandlingCommand)
@click.argument("images", type=FOLDER)
@click.option("--model", "source", type=FOLDER, default=Path("data/models/featdistill"), show_default=True)
@click.option("--out", type=FOLDER, required=True, help="Gets predictions.csv and predictions.meta.json.")
@click.option("--streamed", is_flag=True, help="Hold one expert in memory at a time; images are decoded once for each.")
@click.pass_context
def ntire(ctx: click.Context, images: Path, source: Path, out: Path, streamed: bool) -> None:
    """Score the images below IMAGES for NTIRE 2026: P(generated) by the mean of FeatDistill's experts.

    A call that was cut off goes on where it was; an image's score depends on nothing but the image.
    """
    if not images.is_dir():
        raise InputError(f"{images}: no such folder")
    from aigid.detectors.bundle import load

    model = load(source)
    if model.name != "featdistill":
        raise InputError(f"{source}: a model of {model.name}, want featdistill")
    from aigid.detectors.featdistill import submission

    failed = submission.predict(model, source, images, out, streamed)
    report_failures(list(failed.items()))
    ctx.exit(1 if failed else 0)
