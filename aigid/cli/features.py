"""Commands on embeddings: compute them, forecast what that will cost, look after their cache."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, ROOT
from aigid.core.console import ErrorHandlingCommand, console, print_status
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath

if TYPE_CHECKING:
    from aigid.features.backbones import BackboneSettings, ConcatSettings
    from aigid.features.cache_admin import ExtractionEstimate

BACKBONE = "{backbone}"
MACHINE_COUNTS = (1, 4, 16, 64)
backbones = click.option(
    "--backbone", "names", multiple=True, required=True, help="A name; an unknown one lists the known. Repeatable."
)
weights_option = click.option("--weights", help="A local file or folder in the library's format, instead of the hub.")


@click.command(cls=ErrorHandlingCommand)
@options.manifest
@options.root
@backbones
@weights_option
@click.option(
    "--decode",
    type=click.Choice(["exact", "fast", "draft"]),
    help="Resize by Pillow; by torch; by torch, of a large JPEG no more decoded than it takes.",
)
@options.views
@options.seed("views that draw at random")
@options.engine
@click.option("--part", metavar="K/N", help="Only the Kth of N parts of the images, into the cache, without a file.")
@click.option("--out", help="The embedding file, .h5; of several backbones such as {backbone}.h5.")
def extract(
    manifest_path: Path,
    root: AnyPath,
    names: tuple[str, ...],
    weights: str | None,
    decode: str | None,
    views: tuple[str, ...],
    seed: int,
    engine: str | None,
    part: str | None,
    out: str | None,
) -> None:
    """Embed the images of MANIFEST with frozen backbones, decoding each image once for all of them."""
    from aigid.features.backbones import components
    from aigid.features.images import Images

    if (part is None) == (out is None):
        raise InputError("--out or --part: name the file, or the part that goes to the cache")
    paths = _check_out(out, names) if out else {}
    start, step = _check_part(part) if part else (0, 1)
    settings = _settings(names, weights, decode)
    images = Images.read(manifest_path, start, step)
    from aigid.features.extract import extract as embed  # torch, once the call is known to be good

    failed: dict[str, str] = {}
    for number, name in enumerate(settings, 1):
        later = [component for other in list(settings.values())[number:] for component in components(other)]
        extraction = embed(images, root, settings[name], views, seed, later, paths.get(name), engine=engine)
        if name in paths:
            extraction.write(paths[name])
        failed |= {sample.path: f"{sample.status}: {sample.message}" for sample in extraction.failed}
    options.finish(list(failed.items()))


def _settings(
    names: tuple[str, ...], weights: str | None, decode: str | None = None
) -> dict[str, BackboneSettings | ConcatSettings]:
    """Return the settings of each backbone."""
    from aigid.features.backbones import backbone_settings

    if len(names) > 1 and weights:
        raise InputError(f"--weights {weights}: belong to one backbone, and {len(names)} are named")
    changes = {key: value for key, value in (("weights", weights), ("decode", decode)) if value}
    return {name: backbone_settings(name, changes) for name in names}


def _check_out(out: str, names: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each backbone."""
    if len(names) > 1 and BACKBONE not in out:
        raise InputError(f"--out {out}: several backbones want {BACKBONE} in it")
    paths = {name: Path(out.replace(BACKBONE, re.sub("[/:@]+", "_", name))) for name in names}  # of an address, too
    for path in paths.values():
        if path.is_dir():
            raise InputError(f"--out {path}: is a folder")
    return paths


def _check_part(part: str) -> tuple[int, int]:
    """Return the first row of a part and the step to its next."""
    number, _, of = part.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise InputError(f"--part {part!r}: want K/N with K from 1 to N, such as 3/16")
    return int(number) - 1, int(of)


@click.command(cls=ErrorHandlingCommand)
@options.manifest
@options.root
@backbones
@weights_option
@options.views
@options.seed("views that draw at random")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Images a second, in place of measuring it.")
@click.option("--sample", default=200, show_default=True, type=click.IntRange(8), help="Images to measure on.")
@options.as_json
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
    from aigid.features.backbones import components
    from aigid.features.images import Images

    parts: dict[str, BackboneSettings] = {}
    for name, settings in _settings(names, weights).items():
        members = components(settings)
        titles = [name] if len(members) == 1 else [f"{name}, part {n}" for n in range(1, len(members) + 1)]
        parts |= dict(zip(titles, members, strict=True))
    images = Images.read(manifest_path)
    from aigid.features.cache_admin import estimate  # torch, once the call is known to be good

    forecast = estimate(images, root, parts, views, seed, rate, sample)
    if as_json:
        click.echo(json.dumps(forecast.to_json()))
    else:
        _print_estimate(forecast, "measured here" if rate is None else "as given")


def _print_estimate(forecast: ExtractionEstimate, source: str) -> None:
    from rich.table import Table

    from aigid.core.files import format_bytes

    rows = Table("backbone", "view", "cached", "missing", "to the cache", "the file")
    for line in forecast.lines:
        sizes = format_bytes(line.cache_bytes), format_bytes(line.file_bytes)
        rows.add_row(line.backbone, line.view, f"{line.cached:,}", f"{line.missing:,}", *sizes)
    console().print(rows)
    if forecast.hours is None or not forecast.images:
        print_status("every row is in the cache: the file needs only to be put together")
        return
    print_status(f"{forecast.images:,} images to read, at {forecast.rate:,.1f} a second and machine ({source}):")
    times = ", ".join(f"{forecast.hours / machines:,.2f} h on {machines}" for machines in MACHINE_COUNTS)
    print_status(f"{times}, as far as storage keeps up")


@click.group()
def cache() -> None:
    """Inspect $AIGID_CACHE: embeddings that extractions have cached, and checkpoints of unfinished trainings."""


@cache.command(cls=ErrorHandlingCommand)
@options.as_json
def info(as_json: bool) -> None:
    """Rows and bytes of each backbone and view, and the checkpoints that runs have left."""
    from rich.table import Table

    from aigid.core.cache import checkpoints
    from aigid.core.files import cache_folder
    from aigid.features import cache_admin

    rows, unfinished = [entry.to_row() for entry in cache_admin.entries()], checkpoints()
    total = {name: sum(row[name] for row in rows) for name in ("rows", "bytes", "damaged")}
    folder = str(cache_folder())
    if as_json:
        click.echo(json.dumps({"folder": folder, **total, "entries": rows, "checkpoints": unfinished}))
        return
    table = Table("backbone", "fingerprint", "view", "seed", "rows", "MB", "shards", "damaged", title=folder)
    for row in sorted(rows, key=lambda row: (row["backbone"], row["fingerprint"], row["view"])):
        cells = [row["seed"], row["rows"], f"{row['bytes'] / 1e6:.1f}", row["shards"], row["damaged"]]
        table.add_row(row["backbone"], row["fingerprint"][:8], row["view"], *map(str, cells))
    table.add_row("all", "", "", "", str(total["rows"]), f"{total['bytes'] / 1e6:.1f}", "", str(total["damaged"]))
    console().print(table)
    if unfinished:
        table = Table("unfinished training", "MB", "days ago", "orphan", title="checkpoints")
        for row in unfinished:
            table.add_row(row["run"], f"{row['bytes'] / 1e6:.1f}", f"{row['days']:.1f}", row["orphan"])
        console().print(table)
    for row in rows:
        if row["error"]:
            print_status(row["error"])


@cache.command(cls=ErrorHandlingCommand)
@click.option("--days", default=7.0, show_default=True, type=click.FloatRange(0), help="Without a write, of an orphan.")
@click.option("--dry-run", is_flag=True, help="Only name them.")
def prune(days: float, dry_run: bool) -> None:
    """Remove orphaned checkpoints: those that no run has written to for days, or can read with this installation."""
    from aigid.core.cache import checkpoints
    from aigid.core.files import format_bytes

    orphans = [row for row in checkpoints(days) if row["orphan"]]
    for row in orphans:
        print_status(f"{row['path']}: {row['run']}, {row['orphan']}")
        if not dry_run:
            Path(row["path"]).unlink(missing_ok=True)
    verb = "to remove" if dry_run else "removed"
    click.echo(f"{len(orphans)} checkpoints {verb}, {format_bytes(sum(row['bytes'] for row in orphans))}")


@cache.command(cls=ErrorHandlingCommand)
@click.option("--root", type=ROOT, help="With --manifest: compute a sample of rows again from these images.")
@click.option("--manifest", "manifest_path", type=FILE, help="Names the images below --root.")
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="Rows of each backbone and view.")
@options.seed("the sample")
@click.pass_context
def verify(ctx: click.Context, root: AnyPath | None, manifest_path: Path | None, sample: int, seed: int) -> None:
    """Hash every shard again; name what is damaged or differs, and exit with status 1. Changes nothing."""
    from aigid.core import manifest
    from aigid.features import cache_admin
    from aigid.images.hashing import with_hashes

    if (root is None) != (manifest_path is None):
        raise InputError("--root and --manifest go together")
    entries, errors, again = cache_admin.entries(), 0, 0
    table = with_hashes(manifest.read(manifest_path), root) if manifest_path and root else None
    for entry in entries:
        messages = [entry.error] if entry.error else list(cache_admin.damaged(entry))
        if table is not None and root and not entry.error:
            num_rows, differing = cache_admin.mismatched_rows(entry, table, root, sample, seed)
            again += num_rows
            messages += differing
        for message in messages:
            print_status(message)
        errors += len(messages)
    recomputed = "" if table is None else f", {again} rows computed again"
    shards = sum(len(entry.shards()) for entry in entries)
    click.echo(f"{len(entries)} entries, {shards} shards{recomputed}; errors: {errors}")
    ctx.exit(1 if errors else 0)
