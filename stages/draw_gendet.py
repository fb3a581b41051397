"""Draw what GenDet has learnt: t-SNE of its outputs, its discrepancies before and after, its rotations."""

from pathlib import Path

import click
import pandas as pd

from aigid.core import embeddings as embedding_files
from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors.bundle import load, require_same_backbone
from aigid.detectors.samples import open_dataset
from aigid.report import figures

MAX_POINTS = 150  # test images of each kind in the t-SNE


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="Folder of rotations.csv.")
@click.option("--out", type=Path, required=True, help="Folder of the pictures.")
def main(manifest_path: Path, embeddings: Path, folder: Path, log: Path, out: Path) -> None:
    seed, model = params.load_section("seed", int), load(folder)
    table = manifest.read(manifest_path)
    dataset = open_dataset(table, [embeddings])
    require_same_backbone(model, dataset)
    from aigid.detectors.gendet.settings import GenDetSettings
    from aigid.detectors.gendet.training import build_student
    from aigid.experiments import gendet  # torch, once the inputs are known to be good

    network = model.detector.network
    test = table["generator"].where(table["split"] == "test", "").where(dataset.status == embedding_files.OK, "")
    kind = gendet.image_kinds(test[test != ""].to_numpy(str), set(table["generator"][table["split"] == "train"]))
    x = gendet.scaled(network, dataset.split("test").x)
    places = gendet.subsample(kind, MAX_POINTS, seed)
    figures.save(gendet.tsne(network, x[places], kind[places], seed), out / "tsne.png")
    if network.student is not None:
        untrained = build_student(x.shape[1], GenDetSettings.model_validate(model.settings), seed).to(x.device)
        figures.save(gendet.histograms(network, untrained, x, kind), out / "discrepancies.png")
        figures.save(gendet.curves(pd.read_csv(log / "rotations.csv")), out / "rotations.png")


if __name__ == "__main__":
    main()
