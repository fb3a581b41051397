"""Embed every image of a dataset with one frozen backbone.

While an image is decoded for it, the other backbones of params.yaml that lack it are served too, through the cache.
"""

from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand, report_failures
from aigid.core.files import dataset_root
from aigid.features.backbones import backbone_settings, other_backbones


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--backbone", required=True, help="Name of a section under `backbones:`.")
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The embedding file.")
def main(backbone: str, dataset: str, manifest_path: Path, out: Path) -> None:
    settings = backbone_settings(backbone, params.load_section(f"backbones.{backbone}", dict))
    # Its own file does not depend on the others.
    alongside = other_backbones(params.load_section("backbones", dict), backbone)
    views, seed = params.load_section("views", list[str]), params.load_section("seed", int)
    table, root = manifest.read(manifest_path), dataset_root(dataset)
    from aigid.features.extract import extract  # torch, once the parameters are known to be good

    extraction = extract(table, root, settings, views, seed, alongside, out)
    report_failures([(sample.path, f"{sample.status}: {sample.message}") for sample in extraction.failed])
    extraction.write(out)


if __name__ == "__main__":
    main()
