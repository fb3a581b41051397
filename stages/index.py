"""List the images of a dataset under $AIGID_DATA in a manifest."""

from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand, print_status, report_failures
from aigid.core.files import dataset_root
from aigid.data.index import IndexSettings, build_manifest


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Name of a section under `index:`.")
@click.option("--out", type=Path, required=True, help="The manifest.")
def main(dataset: str, out: Path) -> None:
    settings = params.load_section(f"index.{dataset}", IndexSettings)
    table, unreadable = build_manifest(dataset_root(dataset), settings, params.load_section("seed", int), print_status)
    report_failures([(path, "cannot be read") for path in unreadable])
    manifest.write(table, out)


if __name__ == "__main__":
    main()
