"""Draw what GenDet has learned: t-SNE of its outputs, its discrepancies before and after, its rotations."""

from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors.bundle import load, require_same_backbone
from aigid.detectors.samples import open_dataset
from aigid.report import figures


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--model", "folder", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="Folder of rotations.csv.")
@click.option("--out", type=Path, required=True, help="Folder of the pictures.")
def main(manifest_path: Path, embeddings: Path, folder: Path, log: Path, out: Path) -> None:
    seed, model = params.load_section("seed", int), load(folder)
    dataset = open_dataset(manifest.read(manifest_path), [embeddings])
    require_same_backbone(model, dataset)
    from aigid.experiments.gendet import plot_all  # torch, once the inputs are known to be good

    for name, figure in plot_all(model, dataset, log / "rotations.csv", seed).items():
        figures.save(figure, out / f"{name}.png")


if __name__ == "__main__":
    main()
