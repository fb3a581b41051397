"""Examine a dataset: does anything but the content of its images tell fakes from photographs?"""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command, tell
from aigid.base.files import dataset_root, write_json
from aigid.data import manifest
from aigid.data.audit import page, record
from aigid.data.audit.doctor import AuditSettings, examine


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The audit, .json.")
def main(dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load("audit", AuditSettings), params.load("seed", int)
    found = examine(manifest.read(manifest_path), dataset_root(dataset), settings, seed)
    tell(page.headline(found))
    write_json(out, record.document(found))


if __name__ == "__main__":
    main()
