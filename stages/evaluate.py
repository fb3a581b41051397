"""Judge one detector's scores of every dataset; one named after a protocol gets the protocol's numbers too."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.base.errors import InputError
from aigid.base.files import sha256
from aigid.data import traits
from aigid.evaluation import attribution, protocols, results, scores
from aigid.evaluation.deployment import EvaluationSettings
from aigid.evaluation.judge import judge


@click.command(cls=Command, help=__doc__)
@click.option("--detector", required=True)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--traits", "described", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets metrics/, details/, plots/ and calibration/.")
def main(detector: str, folder: Path, described: Path, out: Path) -> None:
    settings, seed = params.load("evaluation", EvaluationSettings), params.load("seed", int)
    for dataset in params.load("datasets", list[str]):
        path = folder / f"{dataset}.csv"
        rows = scores.read(path).merge(traits.strata(traits.read(described / f"{dataset}.csv")), on="path", how="left")
        by = [name for name in ("size", "compression") if rows[name].nunique() > 1]
        found = judge(rows, seed, by=by, settings=settings)
        found.run_info["sha256 of the scores"] = sha256(path)
        if dataset in protocols.PROTOCOLS:
            found.run_info["protocol"] = dataset
            try:
                numbers = protocols.find(dataset).apply(rows)
                found.metrics.update({f"{dataset}_{key}": value for key, value in numbers.items()})
            except InputError as error:
                found.missing_metrics[f"{dataset}_protocol"] = str(error)
        if attribution.classes_of(rows):
            named = attribution.attribute(rows, found.view, seed)
            found.metrics.update(named.metrics)
            attribution.write(named, out, detector, dataset)
        results.write(found, out, detector, dataset)


if __name__ == "__main__":
    main()
