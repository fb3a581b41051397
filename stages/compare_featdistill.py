"""Score every dataset with each of FeatDistill's experts, and compare them with their mean as NTIRE ranks them."""

from pathlib import Path

import click
import pandas as pd

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors import score_files
from aigid.detectors.bundle import load_kind
from aigid.detectors.samples import Samples


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--model", "folder", type=Path, required=True, help="FeatDistill's folder.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets <expert>/<dataset>.csv.")
@click.option("--halves", type=Path, required=True, help="Gets clean and robust AUROC, .csv.")
def main(folder: Path, manifests: Path, out: Path, halves: Path) -> None:
    datasets, views = params.load_section("datasets", list[str]), params.load_section("views", list[str])
    seed = params.load_section("seed", int)
    from aigid.detectors.featdistill import detector as featdistill
    from aigid.experiments import featdistill as study  # torch, once the parameters are known to be good
    from aigid.features.extract import EncoderLoader

    (model, detector), loader, compared = load_kind(folder, featdistill.FeatDistill), EncoderLoader(), []
    version = model.identity.partition("@")[2]  # of all experts, of which the bundle holds one file each
    for dataset in datasets:
        table = manifest.read(manifests / f"{dataset}.csv")
        samples = Samples(table, dataset_root(dataset), seed)
        result = featdistill.score_each(detector, samples, views, loader)
        for name, rows in result.items():
            if name != featdistill.ENSEMBLE:
                path = out / name / f"{dataset}.csv"
                score_files.write(rows, path, f"{name}@{version}", featdistill.FeatDistill, samples)
        compared.append(study.results_table(result, table, seed).assign(dataset=dataset))
    tables.write(pd.concat(compared), halves)


if __name__ == "__main__":
    main()
