"""Sweep perturbations over test images: SVM, network, and the network as published, in one figure."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors.bundle import load, load_detector, score
from aigid.detectors.protocol import score_views
from aigid.detectors.samples import Samples, open_dataset
from aigid.features.backbones import backbone_settings
from aigid.report import figures, studies
from aigid.report.studies import HONEST, PUBLISHED, VIEWS, PerturbationSettings


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--svm", type=Path, required=True, help="The SVM's folder.")
@click.option("--cnn", type=Path, required=True, help="The network's folder.")
@click.option("--out", type=Path, required=True, help="Gets curves.csv and curves.png.")
def main(manifest_path: Path, svm: Path, cnn: Path, out: Path) -> None:
    settings, seed = params.load_section("perturbation", PerturbationSettings), params.load_section("seed", int)
    backbone = params.load_section("svm.backbone", str)
    encoder = backbone_settings(backbone, params.load_section(f"backbones.{backbone}", dict))
    images = studies.sample(manifest.read(manifest_path), settings, seed)
    root = dataset_root(settings.dataset)
    from aigid.detectors.cnn.detector import Cnn  # torch, once the parameters are known to be good
    from aigid.features.extract import extract

    network, scores = load_detector(cnn, Cnn), {}
    with TemporaryDirectory() as folder:
        extract(images, root, encoder, VIEWS, seed).write(Path(folder, "sample.h5"))
        scores["svm"] = score(load(svm), open_dataset(images, [Path(folder, "sample.h5")]))
    for name, shortcut in {HONEST: False, PUBLISHED: True}.items():
        changed = Cnn(network.net, network.settings.with_shortcut(shortcut), network.classes, network.vae)
        scores[name] = score_views(changed, Samples(images, root, seed), VIEWS)
    table = studies.perturbation_table(scores, seed)
    tables.write(table, out / "curves.csv")
    figures.save(studies.plot(table), out / "curves.png")


if __name__ == "__main__":
    main()
