"""Judge one detector's scores of every dataset."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.data import traits
from aigid.evaluation import results, scores
from aigid.evaluation.deployment import EvaluationSettings
from aigid.evaluation.judge import judge
from aigid.files import sha256


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
        found.facts["sha256 of the scores"] = sha256(path)
        results.write(found, out, detector, dataset)


if __name__ == "__main__":
    main()
