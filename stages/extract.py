"""Embed every image of a dataset with one frozen backbone.

While an image is decoded for it, the other backbones of params.yaml that lack it are served too, through the cache.
"""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command, tell_failed
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.features.backbones import companions, resolve


@click.command(cls=Command, help=__doc__)
@click.option("--backbone", required=True, help="Name of a section under `backbones:`.")
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The embedding file.")
def main(backbone: str, dataset: str, manifest_path: Path, out: Path) -> None:
    settings = resolve(backbone, params.load(f"backbones.{backbone}", dict))
    alongside = companions(params.load("backbones", dict), backbone)  # its own file does not depend on them
    views, seed = params.load("views", list[str]), params.load("seed", int)
    table, root = manifest.read(manifest_path), dataset_root(dataset)
    from aigid.features.extract import extract  # torch, once the parameters are known to be good

    extraction = extract(table, root, settings, views, seed, alongside, out)
    tell_failed([(sample.path, f"{sample.status}: {sample.message}") for sample in extraction.failed])
    extraction.write(out)


if __name__ == "__main__":
    main()
