"""Put the experts together, score every dataset with each of them and with all, and judge them as NTIRE does."""

from dataclasses import replace
from pathlib import Path

import click
import pandas as pd

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.evaluation import scores


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
    demonstration = settings.dataset in params.load("demo", dict)
    from aigid.detectors.base.models import save
    from aigid.detectors.base.origin import of_images
    from aigid.detectors.featdistill import judging, scoring, stages  # torch, once the parameters are known to be good
    from aigid.features.extract import Towers

    lessons, started = manifests / f"{settings.dataset}.csv", [it.backbone for it in settings.experts.values()]
    what = (settings.dataset, lessons, manifest.read(lessons), seed, demonstration)
    made_from = of_images(*what, [backbone.model_dump(mode="json") for backbone in started])
    ensemble = stages.together(settings, {name: experts / name for name in settings.experts}, made_from)
    found, loader = [], Towers()
    for dataset in datasets:
        table = manifest.read(manifests / f"{dataset}.csv")
        said = scoring.score(ensemble.detector, table, dataset_root(dataset), views, seed, loader)
        for name, rows in said.items():
            folder = out if name == scoring.ENSEMBLE else out.with_name(f"{out.name}_experts") / name
            scores.write(rows, folder / f"{dataset}.csv")
        found.append(judging.table(said, table, seed).assign(dataset=dataset))
        if dataset == settings.dataset:
            ensemble = replace(ensemble, validation=scoring.validation(said[scoring.ENSEMBLE]))
    save(ensemble, model)
    tables.write(pd.concat(found), halves)


if __name__ == "__main__":
    main()
