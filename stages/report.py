"""Put the judgements of all detectors on all datasets, and the audits of these, into one report."""

from itertools import product
from pathlib import Path

import click

from aigid import params
from aigid.command import Command
from aigid.data.audit import page, record
from aigid.detectors.registry import JUDGED
from aigid.evaluation import attribution, ledger, report


@click.command(cls=Command, help=__doc__)
@click.option("--results", type=Path, required=True, help="Holds metrics/, details/, plots/ and audit/.")
@click.option("--out", type=Path, required=True, help="The report's folder.")
def main(results: Path, out: Path) -> None:
    datasets = params.load("datasets", list[str])
    audits = {dataset: record.read(results / "audit" / f"{dataset}.json") for dataset in datasets}
    alarms = [line for dataset, audit in audits.items() for line in page.alarms(audit, dataset)]
    sections = {f"Audit of {dataset}": (page.headline(audit), page.tables(audit)) for dataset, audit in audits.items()}
    named = {f"Attribution on {dataset}": attribution.section(results, JUDGED, dataset) for dataset in datasets}
    sections = {title: part for title, part in named.items() if part} | sections
    report.write(results, out, product(JUDGED, datasets), alarms, sections=sections)
    ledger.write(results, out)


if __name__ == "__main__":
    main()
