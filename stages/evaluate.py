"""Judge one detector's scores of every dataset; one named after a protocol gets the protocol's numbers too."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.evaluation import attribution, protocols, results, scores
from aigid.evaluation.judge import judge


@click.command(cls=Command, help=__doc__)
@click.option("--detector", required=True)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets metrics/, details/ and plots/<detector>.")
def main(detector: str, folder: Path, out: Path) -> None:
    seed = params.load("seed", int)
    for dataset in params.load("datasets", list[str]):
        table = scores.read(folder / f"{dataset}.csv")
        judgement = judge(table, seed)
        if dataset in protocols.PROTOCOLS:
            numbers = protocols.apply(dataset, table)
            judgement.metrics.update({f"{dataset}_{key}": value for key, value in numbers.items()})
        if attribution.classes_of(table):
            named = attribution.attribute(table, judgement.view, seed)
            judgement.metrics.update(named.metrics)
            attribution.write(named, out, detector, dataset)
        results.write(judgement, out, detector, dataset)


if __name__ == "__main__":
    main()
