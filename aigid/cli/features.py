"""Commands on embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, ROOT
from aigid.core.console import ErrorHandlingCommand, print_status, report_failures
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath

if TYPE_CHECKING:
    from pandas import DataFrame


BACKBONE = "{backbone}"


@click.command(cls=ErrorHandlingCommand)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
@click.option(
    "--backbone", "names", multiple=True, required=True, help="A name; an unknown one lists the known. May stand again."
)
@click.option("--weights", help="A local file or folder in the library's format, instead of the hub.")
@click.option("--decode", type=click.Choice(["exact", "fast"]), help="Pillow, or libjpeg-turbo and torch.")
@click.option(
    "--view", "views", multiple=True, default=("clean",), help="A named degradation; may stand several times."
)
@click.option("--seed", default=0, show_default=True, help="Of the views that draw at random.")
@options.engine
@click.option("--part", metavar="K/N", help="Only the Kth of N parts of the images, into the cache, without a file.")
@click.option("--out", help="The embedding file, .h5; of several backbones such as {backbone}.h5.")
@click.pass_context
def extract(
    ctx: click.Context,
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
    from aigid.core import manifest
    from aigid.features.backbones import backbone_settings, components

    if len(names) > 1 and weights:
        raise InputError(f"--weights {weights}: belong to one backbone, and {len(names)} are named")
    if (part is None) == (out is None):
        raise InputError("--out or --part: name the file, or the part that goes to the cache")
    paths = _check_out(out, names) if out else dict.fromkeys(names)
    start, step = _check_part(part) if part else (0, 1)
    changes = {"weights": weights, "decode": decode}
    backbones = {
        name: backbone_settings(name, {key: value for key, value in changes.items() if value}) for name in names
    }
    table = manifest.read(manifest_path).iloc[start::step].reset_index(drop=True)
    from aigid.features.extract import extract as embed  # torch, once the call is known to be good

    failed = {}
    for number, (name, settings) in enumerate(backbones.items()):
        others = [tower for other in list(backbones.values())[number + 1 :] for tower in components(other)]
        extraction = embed(table, root, settings, views, seed, others, paths[name], engine=engine)
        if paths[name]:
            extraction.write(paths[name])
        failed |= {sample.path: f"{sample.status}: {sample.message}" for sample in extraction.failed}
    report_failures(list(failed.items()))
    ctx.exit(1 if failed else 0)


def _check_out(out: str, names: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each backbone."""
    if len(names) > 1 and BACKBONE not in out:
        raise InputError(f"--out {out}: several backbones want {BACKBONE} in it")
    paths = {name: Path(out.replace(BACKBONE, name)) for name in names}
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


@click.group()
def cache() -> None:
    """Look after the rows that extractions have computed, in $AIGID_CACHE."""


@cache.command(cls=ErrorHandlingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(as_json: bool) -> None:
    """Rows and bytes of each backbone and view."""
    import json

    from rich.table import Table

    from aigid.core.console import console
    from aigid.core.files import cache_folder
    from aigid.features import cache_admin

    rows = [entry.to_row() for entry in cache_admin.entries()]
    total = {name: sum(row[name] for row in rows) for name in ("rows", "bytes", "damaged")}
    if as_json:
        click.echo(json.dumps({"folder": str(cache_folder()), **total, "entries": rows}))
        return
    table = Table(
        "backbone", "fingerprint", "view", "seed", "rows", "MB", "shards", "damaged", title=str(cache_folder())
    )
    for row in sorted(rows, key=lambda row: (row["backbone"], row["fingerprint"], row["view"])):
        cells = [row["seed"], row["rows"], f"{row['bytes'] / 1e6:.1f}", row["shards"], row["damaged"]]
        table.add_row(row["backbone"], row["fingerprint"][:8], row["view"], *map(str, cells))
    table.add_row("all", "", "", "", str(total["rows"]), f"{total['bytes'] / 1e6:.1f}", "", str(total["damaged"]))
    console().print(table)
    for row in rows:
        if row["error"]:
            print_status(row["error"])


@cache.command(cls=ErrorHandlingCommand)
@click.option("--root", type=ROOT, help="With --manifest: compute a sample of rows again from these images.")
@click.option("--manifest", "manifest_path", type=FILE, help="Names the images below --root.")
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="Rows of each backbone and view.")
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.pass_context
def verify(ctx: click.Context, root: AnyPath | None, manifest_path: Path | None, sample: int, seed: int) -> None:
    """Hash every shard again; ends with status 1 and names what is damaged or differs. Changes nothing."""
    from aigid.core import manifest
    from aigid.features import cache_admin

    if (root is None) != (manifest_path is None):
        raise InputError("--root and --manifest go together")
    entries, errors, again = cache_admin.entries(), [], 0
    table = None if root is None else _with_sha256(manifest.read(manifest_path), root)
    for entry in entries:
        messages = [entry.error] if entry.error else list(cache_admin.damaged(entry))
        if table is not None and not entry.error:
            num_rows, differing = cache_admin.mismatched_rows(entry, table, root, sample, seed)
            again += num_rows
            messages += differing
        for message in messages:
            print_status(message)
        errors += messages
    recomputed = "" if table is None else f", {again} rows computed again"
    shards = sum(len(entry.shards()) for entry in entries)
    click.echo(f"{len(entries)} entries, {shards} shards{recomputed}; errors: {len(errors)}")
    ctx.exit(1 if errors else 0)


def _with_sha256(table: "DataFrame", root: AnyPath) -> "DataFrame":
    from aigid.images.hashing import hash_files

    if "sha256" in table:
        return table
    return table.assign(sha256=hash_files([str((root / path).absolute()) for path in table["path"]]))
