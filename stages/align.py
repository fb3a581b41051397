"""Make aligned fakes of a dataset's photographs in one domain, beside the photographs; after a kill, go on."""

from pathlib import Path

import click

from aigid.align.making import AlignedSettings, how, sampled
from aigid.base import params
from aigid.base.command import Command, tell_failed
from aigid.base.files import dataset_root
from aigid.data import manifest


@click.command(cls=Command, help=__doc__)
@click.option("--domain", type=click.Choice(["vae", "gan"]), required=True)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="Folder of pairs/, and of a maker that is trained here.")
def main(domain: str, dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load("aligned", AlignedSettings), params.load("seed", int)
    table, root = sampled(manifest.read(manifest_path), settings.max_images), dataset_root(dataset)
    from aigid.align.pairs import align  # torch, once the parameters are known to be good

    made = align(table, root, how(getattr(settings, domain), domain, table, root, out, seed), out / "pairs")
    tell_failed(made.failed)
    for line in made.describe():
        click.echo(line, err=True)


if __name__ == "__main__":
    main()
