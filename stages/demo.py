"""Make the demo dataset: photographs from installed packages, fakes from small generators trained on them."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.data.demo import DemoSettings
from aigid.data.hashes import sha256_of


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Name of a section under `demo:`.")
@click.option("--images", type=Path, required=True, help="The folder of images.")
@click.option("--out", type=Path, required=True, help="The manifest.")
def main(dataset: str, images: Path, out: Path) -> None:
    settings = params.load(f"demo.{dataset}", DemoSettings)
    from aigid.data.demo import build  # torch, once the parameters are known to be good

    table = build(settings, images)
    digests = sha256_of([str((images / path).absolute()) for path in table["path"]])
    manifest.write(table.assign(sha256=digests), out)


if __name__ == "__main__":
    main()
