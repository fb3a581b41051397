"""Score the validation and test images of every dataset with one model."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base.models import load
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.scoring import score
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--model", type=Path, required=True, help="The model's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of <dataset>.h5.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(model: Path, manifests: Path, embeddings: Path, out: Path) -> None:
    detector = load(model)
    for dataset in params.load("datasets", list[str]):
        table = manifest.read(manifests / f"{dataset}.csv")
        rows = open_dataset(table, [embeddings / f"{dataset}.h5"])
        scores.write(score(detector, rows), out / f"{dataset}.csv")


if __name__ == "__main__":
    main()
