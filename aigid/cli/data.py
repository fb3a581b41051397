"""Commands on datasets: list their images, examine them, degrade them, align fakes with them, choose a preset."""

from pathlib import Path

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER, ROOT
from aigid.core.console import ErrorHandlingCommand, print_status, report_failures
from aigid.core.paths import AnyPath


@click.command(cls=ErrorHandlingCommand)
@click.argument("root", type=ROOT)
@click.option("--layout", required=True, help="How the dataset lies on disk; an unknown name lists the known.")
@click.option("--out", type=FILE, required=True, help="The manifest, .csv or .parquet.")
@click.option("--val", default=0.1, show_default=True, help="Share of train that becomes val where there is no val.")
@click.option("--test", default=0.0, show_default=True, help="Share of train that becomes test where there is no test.")
@click.option("--limit", type=int, help="Images to keep of each split and generator.")
@click.option("--archives", is_flag=True, help="Look for images inside tar, zip and Parquet files too.")
@click.option("--seed", default=0, show_default=True)
@click.pass_context
def index(
    ctx: click.Context,
    root: AnyPath,
    layout: str,
    out: Path,
    val: float,
    test: float,
    limit: int | None,
    archives: bool,
    seed: int,
) -> None:
    """List the images below ROOT in a manifest."""
    from aigid.core import manifest
    from aigid.core.params import validate
    from aigid.data.index import IndexSettings, build_manifest, count_images

    options = {"layout": layout, "val": val, "test": test, "max_images": limit, "archives": archives}
    settings = validate(options, IndexSettings, "aigid index")
    table, unreadable = build_manifest(root, settings, seed, print_status)
    manifest.write(table, out)
    print_status(count_images(table))
    report_failures([(path, "cannot be read") for path in unreadable])
    ctx.exit(1 if unreadable else 0)


@click.command(cls=ErrorHandlingCommand)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
@click.option("--sample", default=1500, show_default=True, help="Images whose pixels are looked at.")
@click.option("--fail-above", type=float, help="End with status 1 where the container tells the label better (AUROC).")
@click.option("--json", "as_json", is_flag=True, help="Print the audit as one JSON document.")
@click.option("--seed", default=0, show_default=True, help="Of the sample and the folds.")
@click.pass_context
def audit(
    ctx: click.Context,
    manifest_path: Path,
    root: AnyPath,
    sample: int,
    fail_above: float | None,
    as_json: bool,
    seed: int,
) -> None:
    """Examine a dataset before anyone trains on it: does the file format give the label away?"""
    import json
    from dataclasses import asdict

    from aigid.core import manifest
    from aigid.core.console import console
    from aigid.core.params import validate
    from aigid.data.audit import report
    from aigid.data.audit.audit import AuditSettings, run_audit

    threshold = {} if fail_above is None else {"auroc_threshold": fail_above}
    settings = validate({"max_images": sample} | threshold, AuditSettings, "aigid audit")
    result = run_audit(manifest.read(manifest_path), root, settings, seed)
    if as_json:
        click.echo(json.dumps(asdict(result), allow_nan=False))
    else:
        report.print_audit(result, console())
    report_failures([(image.path, f"{image.status}: {image.message}") for image in result.unreadable])
    ctx.exit(1 if result.unreadable or (fail_above is not None and result.refused) else 0)


@click.command(cls=ErrorHandlingCommand)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
@click.option("--view", required=True, help="A named degradation; an unknown name lists the known.")
@click.option("--seed", default=0, show_default=True, help="Of views that draw at random.")
@click.option("--out", type=FOLDER, required=True, help="Gets the images as PNG, manifest.csv and drawn.jsonl.")
@click.pass_context
def degrade(ctx: click.Context, manifest_path: Path, root: AnyPath, view: str, seed: int, out: Path) -> None:
    """Write the images of MANIFEST as they look in a view, and what was drawn for each."""
    from aigid.core import manifest
    from aigid.degradations.views import export_view

    failed = export_view(manifest.read(manifest_path), root, view, seed, out)
    report_failures(failed)
    ctx.exit(1 if failed else 0)


@click.command(cls=ErrorHandlingCommand)
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
@click.option("--domain", required=True, help="vae: through an autoencoder and back; gan: shrunken and enlarged.")
@click.option("--weights", help="Of the autoencoder (else Stable Diffusion 2.1's, from the hub) or the 4x enlarger.")
@click.option("--container", default="own", show_default=True, help="own: as the photograph's file; png: all as PNG.")
@click.option("--seed", default=0, show_default=True, help="Of the samples that the autoencoder draws.")
@options.engine
@click.option("--out", type=FOLDER, required=True, help="Gets real/ and fake/ by split, manifest.csv, aligned.jsonl.")
@click.pass_context
def align(
    ctx: click.Context,
    manifest_path: Path,
    root: AnyPath,
    domain: str,
    weights: str | None,
    container: str,
    seed: int,
    engine: str | None,
    out: Path,
) -> None:
    """Write the photographs of MANIFEST beside aligned fakes: what a generator makes of each, alike in all else.

    Fakes that MANIFEST holds are left out. A call that was killed goes on where it stopped.
    """
    from aigid.aligned.generator import AlignSettings, check_domain
    from aigid.core import manifest
    from aigid.core.params import validate

    check_domain(domain)
    values = {"domain": domain, "weights": weights, "container": container, "seed": seed}
    settings = validate(values, AlignSettings, "aigid align")
    table = manifest.read(manifest_path)
    from aigid.aligned.pairs import make_aligned_pairs as write_pairs  # torch, once the call is known to be good

    pairs = write_pairs(table, root, settings, out, engine)
    for line in pairs.describe():
        print_status(line)
    report_failures(pairs.failures)
    ctx.exit(1 if pairs.failures else 0)


@click.command(cls=ErrorHandlingCommand)
@click.argument("name")
def preset(name: str) -> None:
    """Write params.yaml for a known setting; an unknown name lists the known."""
    from aigid.cli import preset as presets

    for line in presets.write(name, Path("params.yaml")):
        click.echo(line)
