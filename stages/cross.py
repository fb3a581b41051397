"""Fit a detector on each training generator alone and on all but each, and test it on every test generator."""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors import get_detector
from aigid.detectors.samples import open_dataset
from aigid.experiments.cross_generator import CrossingSettings, cross_generator_auroc


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--detector", required=True, help="Name of the detector and of its section in params.yaml.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Several stand side by side.")
@click.option("--out", type=Path, required=True, help="The table, .csv.")
def main(detector: str, manifest_path: Path, embeddings: tuple[Path, ...], out: Path) -> None:
    detector_class = get_detector(detector)
    settings, seed = params.load_section(detector, detector_class.Settings), params.load_section("seed", int)
    max_images = params.load_section("crossing", CrossingSettings).max_images
    dataset = open_dataset(manifest.read_to_learn(manifest_path), embeddings)
    tables.write(cross_generator_auroc(detector_class, settings, dataset, max_images, seed), out)


if __name__ == "__main__":
    main()
