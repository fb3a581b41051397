"""Audit a dataset: does anything but the content of its images tell fakes from photographs?"""

from dataclasses import asdict
from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.files import dataset_root, write_json
from aigid.data.audit import report
from aigid.data.audit.audit import AuditSettings, run_audit


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The audit, .json.")
def main(dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load_section("audit", AuditSettings), params.load_section("seed", int)
    audit = run_audit(manifest.read(manifest_path), dataset_root(dataset), settings, seed)
    print_status(report.title_line(audit))
    write_json(out, asdict(audit))


if __name__ == "__main__":
    main()
