"""Score every dataset with each of FeatDistill's experts, and compare them with their mean as NTIRE ranks them."""

from pathlib import Path

import click
import pandas as pd

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.base.models import load
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--model", "folder", type=Path, required=True, help="FeatDistill's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets <expert>/<dataset>.csv.")
@click.option("--halves", type=Path, required=True, help="Gets clean and robust AUROC, .csv.")
def main(folder: Path, manifests: Path, out: Path, halves: Path) -> None:
    datasets, views, seed = (params.load(*it) for it in (("datasets", list[str]), ("views", list[str]), ("seed", int)))
    from aigid.detectors.featdistill import judging, scoring  # torch, once the parameters are known to be good
    from aigid.features.extract import Towers

    detector, loader, compared = load(folder).detector, Towers(), []
    for dataset in datasets:
        table = manifest.read(manifests / f"{dataset}.csv")
        result = scoring.score(detector, table, dataset_root(dataset), views, seed, loader)
        for name, rows in result.items():
            if name != scoring.ENSEMBLE:
                scores.write(rows, out / name / f"{dataset}.csv")
        compared.append(judging.table(result, table, seed).assign(dataset=dataset))
    tables.write(pd.concat(compared), halves)


if __name__ == "__main__":
    main()
