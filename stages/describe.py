"""Describe the container of every image and the shallow cues of some."""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand, report_failures
from aigid.core.files import dataset_root
from aigid.data.audit.audit import PropertySettings, compute_properties


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The traits, .csv.")
def main(dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load_section("describe", PropertySettings), params.load_section("seed", int)
    table = manifest.read(manifest_path)
    computed, failed = compute_properties(table, dataset_root(dataset), settings.max_images, seed)
    report_failures([(image.path, f"{image.status}: {image.message}") for image in failed])
    tables.write(computed, out)


if __name__ == "__main__":
    main()
