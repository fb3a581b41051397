"""List the images of a dataset under $AIGID_DATA in a manifest."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command, tell, tell_failed
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.data.index import IndexSettings, index


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Name of a section under `index:`.")
@click.option("--out", type=Path, required=True, help="The manifest.")
def main(dataset: str, out: Path) -> None:
    settings = params.load(f"index.{dataset}", IndexSettings)
    table, unreadable = index(dataset_root(dataset), settings, params.load("seed", int), tell)
    tell_failed([(path, "cannot be read") for path in unreadable])
    manifest.write(table, out)


if __name__ == "__main__":
    main()
