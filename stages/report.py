"""Put the judgements of all detectors on all datasets into one report."""

from itertools import product
from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.detectors.registry import DETECTORS
from aigid.evaluation import report


@click.command(cls=Command, help=__doc__)
@click.option("--results", type=Path, required=True, help="Holds metrics/, details/ and plots/.")
@click.option("--out", type=Path, required=True, help="The report's folder.")
def main(results: Path, out: Path) -> None:
    report.write(results, out, wanted=product(DETECTORS, params.load("datasets", list[str])))


if __name__ == "__main__":
    main()
