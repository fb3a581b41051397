"""Commands on embeddings."""

from pathlib import Path

import click

from aigid.command import Command, tell_failed
from aigid.commands.paths import FILE, FOLDER


@click.command(cls=Command)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=FOLDER, required=True, help="The folder that the manifest's paths start from.")
@click.option("--backbone", required=True, help="A name; an unknown one lists the known.")
@click.option("--weights", help="A local file or folder in the library's format, instead of the hub.")
@click.option(
    "--view", "views", multiple=True, default=("clean",), help="A named degradation; may stand several times."
)
@click.option("--seed", default=0, show_default=True, help="Of the views that draw at random.")
@click.option("--out", type=FILE, required=True, help="The embedding file, .h5.")
@click.pass_context
def extract(
    ctx: click.Context,
    manifest_path: Path,
    root: Path,
    backbone: str,
    weights: str | None,
    views: tuple[str, ...],
    seed: int,
    out: Path,
) -> None:
    """Embed the images of MANIFEST with a frozen backbone."""
    from aigid.data import manifest
    from aigid.features.backbones import resolve

    settings = resolve(backbone, {"weights": weights} if weights else {})
    table = manifest.read(manifest_path)
    from aigid.features.extract import extract as embed  # torch, once the call is known to be good

    extraction = embed(table, root, settings, views, seed)
    extraction.write(out)
    tell_failed([(sample.path, f"{sample.status}: {sample.message}") for sample in extraction.failed])
    ctx.exit(1 if extraction.failed else 0)
