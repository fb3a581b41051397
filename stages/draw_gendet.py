"""Draw what GenDet has learnt: t-SNE of its outputs, its discrepancies before and after, its rotations."""

from pathlib import Path

import click
import pandas as pd

from aigid import store
from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base.models import load, require_same_backbone
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.samples import embedded
from aigid.evaluation import figures

SHOWN = 150  # test images of each kind in the t-SNE


@click.command(cls=Command, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="Folder of rotations.csv.")
@click.option("--out", type=Path, required=True, help="Folder of the pictures.")
def main(manifest_path: Path, embeddings: Path, folder: Path, log: Path, out: Path) -> None:
    seed, model = params.load("seed", int), load(folder)
    table = manifest.read(manifest_path)
    dataset = open_dataset(table, [embeddings])
    require_same_backbone(model, embedded(dataset))
    from aigid.detectors.gendet import pictures  # torch, once the inputs are known to be good
    from aigid.detectors.gendet.rotation import new_student
    from aigid.detectors.gendet.settings import GenDetSettings

    network = model.detector.network
    test = table["generator"].where(table["split"] == "test", "").where(dataset.status == store.OK, "")
    kind = pictures.kinds(test[test != ""].to_numpy(str), set(table["generator"][table["split"] == "train"]))
    x = pictures.scaled(network, dataset.split("test").x)
    places = pictures.drawn(kind, SHOWN, seed)
    figures.save(pictures.tsne(network, x[places], kind[places], seed), out / "tsne.png")
    if network.student is not None:
        untrained = new_student(x.shape[1], GenDetSettings.model_validate(model.settings), seed).to(x.device)
        figures.save(pictures.histograms(network, untrained, x, kind), out / "discrepancies.png")
        figures.save(pictures.curves(pd.read_csv(log / "rotations.csv")), out / "rotations.png")


if __name__ == "__main__":
    main()
