"""Score the validation and test images of every dataset with one model."""

from pathlib import Path

import click

from aigid.core import params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors import score_files
from aigid.detectors.bundle import load, score
from aigid.detectors.samples import open_to_score


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--model", type=Path, required=True, help="The model's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--input", "inputs", type=Path, help="Folder of <dataset>.h5; else the images are read.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(model: Path, manifests: Path, inputs: Path | None, out: Path) -> None:
    detector = load(model)
    datasets, views = params.load_section("datasets", list[str]), params.load_section("views", list[str])
    seed = params.load_section("seed", int)
    for dataset in datasets:
        file = None if inputs in (None, manifests) else inputs / f"{dataset}.h5"
        samples = open_to_score(manifests / f"{dataset}.csv", file, Path() if file else dataset_root(dataset), seed)
        rows = score(detector, samples, () if file else views)
        score_files.write_of_bundle(rows, out / f"{dataset}.csv", detector, samples)


if __name__ == "__main__":
    main()
