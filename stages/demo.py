"""Make the demo dataset: photographs from installed packages, fakes from small generators trained on them."""

from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.data.demo import DemoSettings
from aigid.images.hashing import hash_files


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Name of a section under `demo:`.")
@click.option("--images", type=Path, required=True, help="The folder of images.")
@click.option("--out", type=Path, required=True, help="The manifest.")
def main(dataset: str, images: Path, out: Path) -> None:
    settings = params.load_section(f"demo.{dataset}", DemoSettings)
    from aigid.data.demo import build  # torch, once the parameters are known to be good

    table = build(settings, images)
    digests = hash_files([str((images / path).absolute()) for path in table["path"]])
    manifest.write(table.assign(sha256=digests), out)


if __name__ == "__main__":
    main()
