"""Put the judgements of all detectors on all datasets, and the audits of these, into one report."""

from itertools import product
from pathlib import Path

import click

from aigid.core import params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root, sha256
from aigid.data.audit import report as audit_report
from aigid.data.audit import schema
from aigid.detectors.registry import names
from aigid.evaluation import attribution
from aigid.evaluation.comparison import CONTROLS
from aigid.evaluation.results import Section, read, write_curves
from aigid.report import cards, report, reproduction, studies


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--results", type=Path, required=True, help="Holds metrics/, details/, plots/, audit/ and crossing/.")
@click.option("--models", type=Path, required=True, help="Holds a bundle of every detector.")
@click.option("--curves", type=Path, required=True, help="Folder of <dataset>.roc.csv and .pr.csv of all detectors.")
@click.option("--out", type=Path, required=True, help="The report's folder.")
def main(results: Path, models: Path, curves: Path, out: Path) -> None:
    datasets, shown = params.load_section("datasets", list[str]), params.load_section("thumbnails", list[str])
    judged = names()
    audits = {dataset: schema.read(results / "audit" / f"{dataset}.json") for dataset in datasets}
    alarms = [line for dataset, audit in audits.items() for line in audit_report.summary_lines(audit, dataset)]
    crossed = {
        path.stem: studies.cross_generator_section(studies.read_cross_generator(path))
        for path in sorted(results.glob("crossing/*.csv"))
    }
    sections = {f"Generators across: {detector}": section for detector, section in crossed.items()}
    for dataset in datasets:
        if part := attribution.section(results, judged, dataset):
            sections[f"Attribution on {dataset}"] = part
    sections["Channels of the network"] = studies.ablation_section(studies.read_ablation(results / "ablation/cnn.csv"))
    sections["Perturbation"] = studies.perturbation_section(
        studies.read_perturbation(results / "perturbation/curves.csv")
    )
    for dataset, audit in audits.items():
        sections[f"Audit of {dataset}"] = Section(audit_report.title_line(audit), audit_report.tables(audit))
    facts = {"command": "dvc repro", "sha256 of params.yaml": sha256("params.yaml")}
    images = {dataset: dataset_root(dataset) for dataset in datasets if dataset in shown}
    wanted = [*product((*judged, *CONTROLS), datasets)]
    found = read(results, wanted)
    write_curves({cell: found[cell] for cell in product(judged, datasets)}, curves)
    report.write(results, out, wanted, alarms, facts, sections=sections, images=images)
    reproduction.write(results, out)
    cards.write(results, models, out / "cards", judged, datasets)


if __name__ == "__main__":
    main()
