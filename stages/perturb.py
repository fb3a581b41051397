"""Sweep perturbations over test images: SVM, network, and the network as published, in one figure."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.evaluation import figures, perturbation
from aigid.evaluation.perturbation import HONEST, PUBLISHED, VIEWS, PerturbationSettings
from aigid.features.backbones import resolve


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
    images = perturbation.sample(manifest.read(manifest_path), settings, seed)
    root = dataset_root(settings.dataset)
    from aigid.detectors.base import models, rows, samples, scoring  # torch, once the parameters are known to be good
    from aigid.detectors.cnn import scoring as of_network
    from aigid.detectors.cnn.samples import Source
    from aigid.features.extract import extract

    network, found = models.load(cnn), {}
    with TemporaryDirectory() as folder:
        extract(images, root, tower, VIEWS, seed).write(Path(folder, "sample.h5"))
        embedded = rows.open_dataset(images, [Path(folder, "sample.h5")])
        found["svm"] = scoring.score(models.load(svm), samples.embedded(embedded))
    for name, shortcut in {HONEST: False, PUBLISHED: True}.items():
        source = Source(network.detector.settings.with_shortcut(shortcut), vae, root, seed)
        found[name] = of_network.score(network, source, images, VIEWS)
    table = perturbation.study(found, seed)
    tables.write(table, out / "curves.csv")
    figures.save(perturbation.draw(table), out / "curves.png")


if __name__ == "__main__":
    main()
