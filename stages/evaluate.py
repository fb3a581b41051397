"""Judge one detector's scores of every dataset."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.evaluation import results, scores
from aigid.evaluation.judge import judge


@click.command(cls=Command, help=__doc__)
@click.option("--detector", required=True)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets metrics/, details/ and plots/<detector>.")
def main(detector: str, folder: Path, out: Path) -> None:
    seed = params.load("seed", int)
    for dataset in params.load("datasets", list[str]):
        results.write(judge(scores.read(folder / f"{dataset}.csv"), seed), out, detector, dataset)


if __name__ == "__main__":
    main()
