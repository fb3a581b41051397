"""What an extraction will cost, before it is begun."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli.options import FILE, ROOT
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.paths import AnyPath

if TYPE_CHECKING:
    from aigid.features.cache_admin import ExtractionEstimate


MACHINE_COUNTS = (1, 4, 16, 64)


@click.command(cls=ErrorHandlingCommand)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
@click.option("--backbone", "names", multiple=True, required=True, help="A name; may stand several times.")
@click.option("--weights", help="A local copy of the backbone's weights.")
@click.option("--view", "views", multiple=True, default=("clean",), help="May stand several times.")
@click.option("--seed", default=0, show_default=True, help="Of the views that draw at random.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Images a second, in place of measuring it.")
@click.option("--sample", default=200, show_default=True, type=click.IntRange(8), help="Images to measure on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plan(
    manifest_path: Path,
    root: AnyPath,
    names: tuple[str, ...],
    weights: str | None,
    views: tuple[str, ...],
    seed: int,
    rate: float | None,
    sample: int,
    as_json: bool,
) -> None:
    """Forecast an extraction: rows cached and missing, bytes, and hours at the pace of a sample on this machine."""
    from aigid.core import manifest
    from aigid.core.errors import InputError
    from aigid.features.backbones import backbone_settings, components

    if len(names) > 1 and weights:
        raise InputError(f"--weights {weights}: belong to one backbone, and {len(names)} are named")
    backbones = [backbone_settings(name, {"weights": weights} if weights else {}) for name in names]
    known = {}
    for name, settings in zip(names, backbones, strict=True):
        parts = components(settings)
        known |= {name if len(parts) == 1 else f"{name}, part {number}": part for number, part in enumerate(parts, 1)}
    table = manifest.read(manifest_path)
    from aigid.features.cache_admin import estimate  # torch, once the call is known to be good

    found = estimate(table, root, known, views, seed, rate, sample)
    if as_json:
        import json

        click.echo(json.dumps(found.to_json()))
    else:
        _show(found, measured=rate is None)


def _show(found: "ExtractionEstimate", measured: bool) -> None:
    from rich.table import Table

    from aigid.core.console import console
    from aigid.core.files import format_bytes

    rows = Table("backbone", "view", "cached", "missing", "to the cache", "the file")
    for line in found.lines:
        numbers = (
            f"{line.cached:,}",
            f"{line.missing:,}",
            format_bytes(line.cache_bytes),
            format_bytes(line.file_bytes),
        )
        rows.add_row(line.backbone, line.view, *numbers)
    console().print(rows)
    if found.hours is None or not found.images:
        print_status("every row is in the cache: the file needs only to be put together")
        return
    source = "measured here" if measured else "as given"
    print_status(f"{found.images:,} images to read, at {found.rate:,.1f} a second and machine ({source}):")
    forecasts = [f"{found.hours / machines:,.2f} h on {machines}" for machines in MACHINE_COUNTS]
    print_status(f"{', '.join(forecasts)}, as far as storage keeps up")
