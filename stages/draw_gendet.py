"""Draw what GenDet has learned: its outputs, its discrepancies before and after, its rotations, degraded images."""

from dataclasses import replace
from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors.bundle import load, load_detector, require_same_backbone
from aigid.detectors.samples import open_dataset
from aigid.report import figures


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="Folder of rotations.csv.")
@click.option("--cnn", type=Path, required=True, help="Folder of a network to set beside it on degraded images.")
@click.option("--dataset", "name", required=True, help="Whose images the network sees.")
@click.option("--out", type=Path, required=True, help="Folder of the pictures.")
def main(manifest_path: Path, embeddings: Path, folder: Path, log: Path, cnn: Path, name: str, out: Path) -> None:
    seed, model = params.load_section("seed", int), load(folder)
    dataset = replace(open_dataset(manifest.read(manifest_path), [embeddings]), root=dataset_root(name))
    require_same_backbone(model, dataset)
    from aigid.detectors.cnn.detector import Cnn  # torch, once the inputs are known to be good
    from aigid.experiments.gendet import plot_all, plot_degradations

    plots = plot_all(model, dataset, log / "rotations.csv", seed)
    if "rotations" in plots:  # a student, and so a discrepancy
        plots["degradations"] = plot_degradations(model, load_detector(cnn, Cnn), dataset, seed)
    for title, figure in plots.items():
        figures.save(figure, out / f"{title}.png")


if __name__ == "__main__":
    main()
