"""Describe the container of every image and the shallow cues of some."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command, tell_failed
from aigid.base.files import dataset_root
from aigid.data import manifest, traits
from aigid.data.description import DescriptionSettings, describe


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The traits, .csv.")
def main(dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load("describe", DescriptionSettings), params.load("seed", int)
    table = manifest.read(manifest_path)
    found, failed = describe(table, dataset_root(dataset), settings.max_images, seed)
    tell_failed([(one.path, f"{one.status}: {one.message}") for one in failed])
    traits.write(found, out)


if __name__ == "__main__":
    main()
