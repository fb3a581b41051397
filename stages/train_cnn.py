"""Train the five-channel network on a dataset's images; after a kill it goes on from its last checkpoint."""

from dataclasses import replace
from pathlib import Path

import click

from aigid import params, tables
from aigid.command import Command
from aigid.data import manifest
from aigid.detectors.cnn.settings import CnnSettings
from aigid.files import dataset_root


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--vae", type=Path, required=True, help="The VAE's folder.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="One row an epoch, .csv.")
def main(dataset: str, manifest_path: Path, vae: Path, out: Path, log: Path) -> None:
    settings, seed, demos = (params.load(*it) for it in (("cnn", CnnSettings), ("seed", int), ("demo", dict)))
    table, root = manifest.read(manifest_path), dataset_root(dataset)
    from aigid.detectors.cnn.detector import Cnn  # torch, once the parameters are known to be good
    from aigid.detectors.cnn.samples import Source
    from aigid.detectors.cnn.scoring import validate
    from aigid.detectors.models import Model, save
    from aigid.detectors.origin import of_images

    source = Source(settings, vae, root, seed)
    fitted, epochs = Cnn.fit(settings, source, table, seed)
    made_from = of_images(dataset, manifest_path, table, seed, dataset in demos)
    model = Model("cnn", fitted, settings.model_dump(mode="json"), source.fingerprints, made_from)
    save(replace(model, validation=validate(model, source, table)), out, {"vae": vae})
    tables.write(epochs, log)


if __name__ == "__main__":
    main()
