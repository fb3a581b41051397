"""Train the five-channel network on a dataset's images; after a kill it goes on from its last checkpoint.

Under ``torchrun --nproc-per-node N -m -- stages.train_cnn ...`` N processes share each batch.
"""

from pathlib import Path

import click

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.cnn.settings import CnnSettings


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--vae", type=Path, required=True, help="The VAE's folder.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="One row an epoch, .csv.")
def main(dataset: str, manifest_path: Path, vae: Path, out: Path, log: Path) -> None:
    settings, seed = params.load("cnn", CnnSettings), params.load("seed", int)
    demonstration = dataset in params.load("demo", dict)
    table, root = manifest.read(manifest_path), dataset_root(dataset)
    from aigid.detectors.base.models import Model, save
    from aigid.detectors.base.origin import of_images
    from aigid.detectors.cnn.detector import Cnn  # torch, once the parameters are known to be good
    from aigid.detectors.cnn.samples import Source
    from aigid.detectors.cnn.scoring import validate
    from aigid.detectors.training import parallel

    source = Source(settings, vae, root, seed)
    with parallel.processes():
        fitted, epochs = Cnn.fit(settings, source, table, seed)
        if parallel.rank() == 0:
            made_from = of_images(dataset, manifest_path, table, seed, demonstration)
            said, scores = settings.model_dump(mode="json"), validate(fitted, source, table)
            save(Model("cnn", fitted, said, source.fingerprints, made_from, scores), out, {"vae": vae})
            tables.write(epochs, log)


if __name__ == "__main__":
    main()
