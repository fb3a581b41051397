"""Score the validation and test images of every dataset with the five-channel network."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.base.models import load
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--vae", type=Path, required=True, help="The VAE's folder.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(folder: Path, manifests: Path, vae: Path, out: Path) -> None:
    datasets, views, seed = (params.load(*it) for it in (("datasets", list[str]), ("views", list[str]), ("seed", int)))
    from aigid.detectors.cnn.samples import Source  # torch, once the parameters are known to be good
    from aigid.detectors.cnn.scoring import score

    model = load(folder)
    for dataset in datasets:
        source = Source(model.detector.settings, vae, dataset_root(dataset), seed)
        table = manifest.read(manifests / f"{dataset}.csv")
        scores.write(score(model, source, table, views), out / f"{dataset}.csv")


if __name__ == "__main__":
    main()
