"""Train the negative controls, and score the validation and test images of every dataset with them."""

from pathlib import Path

import click

from aigid.core import manifest, params, traits
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import sha256
from aigid.detectors import controls, score_files
from aigid.detectors.bundle import Bundle, score
from aigid.detectors.controls import ControlSettings
from aigid.detectors.samples import open_dataset


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of <dataset>.h5.")
@click.option("--traits", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets <control>/<dataset>.csv.")
def main(manifests: Path, embeddings: Path, folder: Path, out: Path) -> None:
    settings, seed = params.load_section("controls", ControlSettings), params.load_section("seed", int)

    def described(dataset: str, read=manifest.read):
        table = read(manifests / f"{dataset}.csv")
        return table, table.merge(traits.read(folder / f"{dataset}.csv"), on="path", how="left", validate="1:1")

    inputs = [sha256(path / f"{settings.dataset}.csv") for path in (manifests, folder)]

    table, known = described(settings.dataset, manifest.read_to_learn)
    known_rows = open_dataset(table, [embeddings / f"{settings.dataset}.h5"])
    probe = controls.label_shuffled(settings, known_rows, seed)
    model = Bundle("control_shuffled", probe, settings.model_dump(mode="json"), known_rows.fingerprints)
    train = known[known["split"] == "train"]
    scorers = {
        "control_noise": controls.noise_embeddings(settings, table, seed),
        "control_container": controls.probe_on_properties(train, traits.CONTAINER),
        "control_shallow": controls.probe_on_properties(train, traits.SHALLOW),
    }
    learnt = score_files.digest(settings.model_dump(mode="json"), seed, known_rows.fingerprints, inputs)
    for dataset in params.load_section("datasets", list[str]):
        table, known = described(dataset)
        samples = open_dataset(table, [embeddings / f"{dataset}.h5"])
        frames = {model.name: score(model, samples)}
        frames |= {name: controls.score_frame(known, scorer) for name, scorer in scorers.items()}
        for name, rows in frames.items():
            path = out / name / f"{dataset}.csv"
            score_files.write(rows, path, f"{name}@{learnt}", controls.label_shuffled, samples)


if __name__ == "__main__":
    main()
