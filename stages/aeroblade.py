"""Score every validation and test image by how well autoencoders give it back; validation calibrates."""

from pathlib import Path

import click
import pandas as pd

from aigid import params
from aigid.command import Command
from aigid.data import manifest
from aigid.detectors import models, scoring
from aigid.detectors.aeroblade.settings import AerobladeSettings
from aigid.evaluation import scores
from aigid.files import dataset_root


@click.command(cls=Command, help=__doc__)
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--vae", type=Path, required=True, help="The folder of the pipeline's own autoencoder.")
@click.option("--model", type=Path, required=True, help="The model's folder.")
@click.option("--out", type=Path, required=True, help="Folder of the scores files.")
def main(manifests: Path, vae: Path, model: Path, out: Path) -> None:
    settings, seed = params.load("aeroblade", AerobladeSettings), params.load("seed", int)
    datasets, views = params.load("datasets", list[str]), params.load("views", list[str])
    tables = {dataset: scoring.judged(manifest.read(manifests / f"{dataset}.csv")) for dataset in datasets}
    from aigid.detectors.aeroblade.detector import Aeroblade  # torch, once the parameters are known to be good
    from aigid.detectors.aeroblade.measure import Measure

    measure = Measure(settings, [vae, *map(Path, settings.autoencoders)], seed)
    val = tables[settings.train].query("split == 'val'")
    found, _ = measure.closeness(val, dataset_root(settings.train), "clean")
    fitted = Aeroblade.fit(found, val["label"].to_numpy())
    models.save(models.Model("aeroblade", fitted, settings.model_dump(mode="json"), []), model)
    for dataset, table in tables.items():
        found = {view: measure.closeness(table, dataset_root(dataset), view) for view in views}
        rows = [scoring.frame(table, view, fitted.score(value), status) for view, (value, status) in found.items()]
        scores.write(pd.concat(rows), out / f"{dataset}.csv")


if __name__ == "__main__":
    main()
