"""Put the experts together, score every dataset with each of them and with all, and judge them as NTIRE does."""

from pathlib import Path

import click
import pandas as pd

from aigid import params, tables
from aigid.command import Command
from aigid.data import manifest
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.evaluation import scores
from aigid.files import dataset_root


@click.command(cls=Command, help=__doc__)
@click.option("--experts", type=Path, required=True, help="Folder of the experts' folders.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--model", type=Path, required=True, help="Gets the ensemble.")
@click.option("--out", type=Path, required=True, help="Gets the scores files; <out>_experts gets those of each expert.")
@click.option("--halves", type=Path, required=True, help="Gets clean and robust AUROC, .csv.")
def main(experts: Path, manifests: Path, model: Path, out: Path, halves: Path) -> None:
    settings, datasets, views, seed = (
        params.load(*it)
        for it in (("featdistill", FeatDistillSettings), ("datasets", list[str]), ("views", list[str]), ("seed", int))
    )
    from aigid.detectors.featdistill import judging, scoring, stages  # torch, once the parameters are known to be good

    together = stages.together(settings, {name: experts / name for name in settings.experts}, model).detector
    found = []
    for dataset in datasets:
        table, root = manifest.read(manifests / f"{dataset}.csv"), dataset_root(dataset)
        for name, rows in scoring.score(together, table, root, views, seed).items():
            folder = out if name == scoring.ENSEMBLE else out.with_name(f"{out.name}_experts") / name
            scores.write(rows, folder / f"{dataset}.csv")
        judged = judging.table(scoring.in_halves(together, table, root, settings.robust_views, seed), seed)
        found.append(judged.assign(dataset=dataset))
    tables.write(pd.concat(found), halves)


if __name__ == "__main__":
    main()
