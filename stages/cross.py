"""Fit a detector on each training generator alone and on all but each, and judge it on every test generator."""

from pathlib import Path

import click

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base.registry import find
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.crossing import CrossingSettings, cross


@click.command(cls=Command, help=__doc__)
@click.option("--detector", required=True, help="Name of the detector and of its section in params.yaml.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Several stand side by side.")
@click.option("--out", type=Path, required=True, help="The table, .csv.")
def main(detector: str, manifest_path: Path, embeddings: tuple[Path, ...], out: Path) -> None:
    kind = find(detector)
    settings, seed = params.load(detector, kind.Settings), params.load("seed", int)
    most = params.load("crossing", CrossingSettings).max_images
    dataset = open_dataset(manifest.read(manifest_path), embeddings)
    tables.write(cross(kind, settings, dataset, most, seed), out)


if __name__ == "__main__":
    main()
