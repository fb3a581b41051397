"""Write one report of the results of all detectors on all datasets, and of the datasets' audits."""

from itertools import product
from pathlib import Path

import click

from aigid.core import params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root, sha256
from aigid.data.audit import read_audit
from aigid.data.audit import report as audit_report
from aigid.detectors import names
from aigid.evaluation import attribution
from aigid.evaluation.comparison import CONTROLS
from aigid.evaluation.evaluate import Section, read_results
from aigid.report import cards, ledger, report, studies
from aigid.training import prior


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--results", type=Path, required=True, help="Holds metrics/, details/, plots/, audit/, crossing/, sef/.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv: what detectors learnt from.")
@click.option("--models", type=Path, required=True, help="Holds a bundle of every detector.")
@click.option("--curves", type=Path, required=True, help="Folder of <dataset>.roc.csv and .pr.csv of all detectors.")
@click.option("--out", type=Path, required=True, help="The report's folder.")
def main(results: Path, manifests: Path, models: Path, curves: Path, out: Path) -> None:
    datasets, displayed = params.load_section("datasets", list[str]), params.load_section("thumbnails", list[str])
    detectors, sections = names(), {}
    audits = {dataset: read_audit(results / "audit" / f"{dataset}.json") for dataset in datasets}
    warnings = [line for dataset, audit in audits.items() for line in audit_report.summary_lines(audit, dataset)]
    warnings += prior.warnings(results / "training")
    for path in sorted(results.glob("crossing/*.csv")):
        table = studies.read(path, studies.CROSS_GENERATOR)
        sections[f"Generators across: {path.stem}"] = studies.cross_generator_section(table)
    for dataset in datasets:
        if section := attribution.section(results, detectors, dataset):
            sections[f"Attribution on {dataset}"] = section
        tables.write(attribution.confusions(results, detectors, dataset), curves / f"{dataset}.confusion.csv")
    table = studies.read(results / "sef/comparison.csv", studies.ALIGNED)
    sections["SEF on held-out pairs"] = studies.aligned_section(table)
    curves_table = studies.read(results / "perturbation/curves.csv", studies.PERTURBATION)
    sections["Perturbation"] = studies.perturbation_section(curves_table)
    for dataset, audit in audits.items():
        sections[f"Audit of {dataset}"] = Section(audit_report.title_line(audit), audit_report.tables(audit))
    run_info = {"command": "dvc repro", "sha256 of params.yaml": sha256("params.yaml")}
    images = {dataset: dataset_root(dataset) for dataset in datasets if dataset in displayed}
    cells = [*product((*detectors, *CONTROLS), datasets)]
    by_cell = read_results(results, cells)
    report.write_curves({cell: by_cell[cell] for cell in product(detectors, datasets)}, curves)
    report.write(by_cell, out, warnings, run_info, sections=sections, images=images)
    ledger.write(results, out)
    cards.write(by_cell, models, manifests, out / "cards", detectors, datasets)


if __name__ == "__main__":
    main()
