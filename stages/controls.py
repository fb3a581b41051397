"""Train the negative controls, and score the validation and test images of every dataset with them."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest, traits
from aigid.detectors import controls
from aigid.detectors.base.models import Model
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.samples import embedded
from aigid.detectors.base.scoring import score
from aigid.detectors.controls import ControlSettings
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of <dataset>.h5.")
@click.option("--traits", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets <control>/<dataset>.csv.")
def main(manifests: Path, embeddings: Path, folder: Path, out: Path) -> None:
    settings, seed = params.load("controls", ControlSettings), params.load("seed", int)

    def described(dataset: str):
        table = manifest.read(manifests / f"{dataset}.csv")
        return table, table.merge(traits.read(folder / f"{dataset}.csv"), on="path", how="left", validate="1:1")

    table, known = described(settings.dataset)
    known_rows = open_dataset(table, [embeddings / f"{settings.dataset}.h5"])
    probe = controls.shuffled(settings, known_rows, seed)
    model = Model("control_shuffled", probe, settings.model_dump(mode="json"), known_rows.fingerprints)
    train = known[known["split"] == "train"]
    scorers = {
        "control_noise": controls.noise(settings, table, seed),
        "control_container": controls.by_traits(train, traits.CONTAINER),
        "control_shallow": controls.by_traits(train, traits.SHALLOW),
    }
    for dataset in params.load("datasets", list[str]):
        table, known = described(dataset)
        rows = score(model, embedded(open_dataset(table, [embeddings / f"{dataset}.h5"])))
        scores.write(rows, out / f"control_shuffled/{dataset}.csv")
        for name, scorer in scorers.items():
            scores.write(controls.scored(known, scorer), out / f"{name}/{dataset}.csv")


if __name__ == "__main__":
    main()
