"""Score the validation and test images of every dataset with SEF, from the experts' embeddings."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.data import manifest
from aigid.detectors.models import load
from aigid.detectors.rows import open_dataset
from aigid.detectors.scoring import judged, score
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of <dataset>.h5.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(folder: Path, manifests: Path, embeddings: Path, out: Path) -> None:
    datasets, model = params.load("datasets", list[str]), load(folder)
    for dataset in datasets:
        table = judged(manifest.read(manifests / f"{dataset}.csv")).reset_index(drop=True)
        embedded = open_dataset(table, [embeddings / f"{dataset}.h5"])
        scores.write(score(model, embedded), out / f"{dataset}.csv")


if __name__ == "__main__":
    main()
