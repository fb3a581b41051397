"""Sweep perturbations over test images: SVM, network, and the network as published, in one figure."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.data import manifest
from aigid.features.backbones import resolve
from aigid.files import dataset_root, write_text
from aigid.perturbation import PerturbationSettings


@click.command(cls=Command, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--svm", type=Path, required=True, help="The SVM's folder.")
@click.option("--cnn", type=Path, required=True, help="The network's folder.")
@click.option("--vae", type=Path, required=True, help="The VAE's folder.")
@click.option("--out", type=Path, required=True, help="Gets curves.csv and curves.png.")
def main(manifest_path: Path, svm: Path, cnn: Path, vae: Path, out: Path) -> None:
    settings, seed = params.load("perturbation", PerturbationSettings), params.load("seed", int)
    backbone = params.load("svm.backbone", str)
    tower = resolve(backbone, params.load(f"backbones.{backbone}", dict))
    from aigid import perturbation  # torch, once the parameters are known to be good
    from aigid.detectors.cnn.scoring import predictor as by_network
    from aigid.detectors.models import load
    from aigid.detectors.predicting import predictor as by_embedding
    from aigid.evaluation import figures

    images = perturbation.sample(manifest.read(manifest_path), settings, seed)
    root = dataset_root(settings.dataset)
    network = load(cnn)
    detectors = {
        "svm": by_embedding(load(svm), images, root, tower, perturbation.VIEWS, seed),
        "cnn": by_network(network, images, root, vae, seed),
        "cnn, clean side channels": by_network(network, images, root, vae, seed, ("clean_side_channels",)),
    }
    table = perturbation.study(images, detectors, seed)
    write_text(out / "curves.csv", table.to_csv(index=False, lineterminator="\n"))
    figures.save(perturbation.draw(table), out / "curves.png")


if __name__ == "__main__":
    main()
