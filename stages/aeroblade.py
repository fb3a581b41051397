"""Score every validation and test image by how well autoencoders give it back; validation calibrates."""

from pathlib import Path

import click
import pandas as pd

from aigid.base import params
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.aeroblade.settings import AerobladeSettings
from aigid.detectors.base import models, scoring
from aigid.detectors.base.origin import of_images
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--vae", type=Path, required=True, help="The folder of the pipeline's own autoencoder.")
@click.option("--model", type=Path, required=True, help="The model's folder.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(manifests: Path, vae: Path, model: Path, out: Path) -> None:
    settings, seed = params.load("aeroblade", AerobladeSettings), params.load("seed", int)
    datasets, views = params.load("datasets", list[str]), params.load("views", list[str])
    train, demonstration = settings.dataset, settings.dataset in params.load("demo", dict)
    tables = {dataset: scoring.judged(manifest.read(manifests / f"{dataset}.csv")) for dataset in datasets}
    from aigid.align.vae import folder_of  # torch, once the parameters are known to be good
    from aigid.detectors.aeroblade.detector import Aeroblade
    from aigid.detectors.aeroblade.distance import perceptual
    from aigid.detectors.aeroblade.measure import Measure

    vaes = {f"autoencoder{k}": folder_of(it) for k, it in enumerate([vae, *map(Path, settings.autoencoders)])}
    measure = Measure(perceptual(settings, seed), settings.size, list(vaes.values()), seed)
    val = tables[train].query("split == 'val'")
    found, status = measure.closeness(val, dataset_root(train), "clean")
    fitted = Aeroblade.fit(found, val["label"].to_numpy(), measure.distance)
    made_from = of_images(train, manifests / f"{train}.csv", tables[train], seed, demonstration)
    validation = scoring.frame(val, "clean", fitted.score(found), status)
    said = settings.model_dump(mode="json")
    models.save(models.Model("aeroblade", fitted, said, [], made_from, validation), model, vaes)
    for dataset, table in tables.items():
        found = {view: measure.closeness(table, dataset_root(dataset), view) for view in views}
        rows = [scoring.frame(table, view, fitted.score(value), status) for view, (value, status) in found.items()]
        scores.write(pd.concat(rows), out / f"{dataset}.csv")


if __name__ == "__main__":
    main()
