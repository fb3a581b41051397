"""List the images of a dataset under $AIGID_DATA in a manifest."""

from pathlib import Path

import click

from aigid.core import params
from aigid.core.console import ErrorHandlingCommand, print_status, report_failures
from aigid.core.files import dataset_root
from aigid.data.index import IndexSettings, write_manifest


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Name of a section under `index:`.")
@click.option("--out", type=Path, required=True, help="The manifest.")
def main(dataset: str, out: Path) -> None:
    settings = params.load_section(f"index.{dataset}", IndexSettings)
    seed = params.load_section("seed", int)
    _, unreadable = write_manifest(out, dataset_root(dataset), settings, seed, print_status)
    report_failures([(path, "cannot be read") for path in unreadable])


if __name__ == "__main__":
    main()
