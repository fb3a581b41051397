"""Train the negative controls, and score the validation and test images of every dataset with them."""

from pathlib import Path

import click

from aigid.core import manifest, params, scores
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors import controls
from aigid.detectors.bundle import Bundle, score
from aigid.detectors.controls import ControlSettings
from aigid.detectors.samples import open_dataset
from aigid.images import properties


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of <dataset>.h5.")
@click.option("--traits", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets <control>/<dataset>.csv.")
def main(manifests: Path, embeddings: Path, folder: Path, out: Path) -> None:
    settings, seed = params.load_section("controls", ControlSettings), params.load_section("seed", int)

    def described(dataset: str, read=manifest.read):
        table = read(manifests / f"{dataset}.csv")
        return table, table.merge(properties.read(folder / f"{dataset}.csv"), on="path", how="left", validate="1:1")

    table, known = described(settings.dataset, manifest.read_to_learn)
    known_rows = open_dataset(table, [embeddings / f"{settings.dataset}.h5"])
    probe = controls.label_shuffled(settings, known_rows, seed)
    model = Bundle("control_shuffled", probe, settings.model_dump(mode="json"), known_rows.fingerprints)
    train = known[known["split"] == "train"]
    scorers = {
        "control_noise": controls.noise_embeddings(settings, table, seed),
        "control_container": controls.probe_on_properties(train, properties.CONTAINER),
        "control_shallow": controls.probe_on_properties(train, properties.SHALLOW),
    }
    for dataset in params.load_section("datasets", list[str]):
        table, known = described(dataset)
        rows = score(model, open_dataset(table, [embeddings / f"{dataset}.h5"]))
        scores.write(rows, out / f"control_shuffled/{dataset}.csv")
        for name, scorer in scorers.items():
            scores.write(controls.score_frame(known, scorer), out / f"{name}/{dataset}.csv")


if __name__ == "__main__":
    main()
