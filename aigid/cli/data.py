"""Commands on datasets: list their images, examine them, degrade them, align fakes with them, choose a preset."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER, ROOT, SHARE
from aigid.core.console import ErrorHandlingCommand, print_status, report_failures
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath


@click.command(cls=ErrorHandlingCommand)
@click.argument("root", type=ROOT)
@click.option("--layout", required=True, help="The dataset's folder structure; an unknown name lists the known.")
@click.option("--out", type=FILE, required=True, help="The manifest, .csv or .parquet.")
@click.option("--val", type=SHARE, default=0.1, show_default=True, help="Share of train for val where there is no val.")
@click.option("--test", type=SHARE, default=0.0, show_default=True, help="The same for test where there is no test.")
@click.option("--limit", type=click.IntRange(1), help="Images to keep of each split and generator.")
@click.option("--archives", is_flag=True, help="Look for images inside tar, zip and Parquet files too.")
@click.option("--role", metavar="ROLE", help="never_train, test_only or in_the_wild: nothing may learn from it.")
@options.seed("random splits and limits")
def index(
    root: AnyPath,
    layout: str,
    out: Path,
    val: float,
    test: float,
    limit: int | None,
    archives: bool,
    role: str | None,
    seed: int,
) -> None:
    """List the images below ROOT in a manifest."""
    from aigid.core import manifest
    from aigid.data.index import IndexSettings, write_manifest
    from aigid.images.formats import failure

    if role not in (None, *manifest.ROLES):
        raise InputError(f"--role {role!r}: want {', '.join(manifest.ROLES)}")
    values = {"layout": layout, "val": val, "test": test, "max_images": limit, "archives": archives, "role": role}
    settings = IndexSettings.model_validate(values)
    counts, unreadable = write_manifest(out, root, settings, seed, print_status)
    print_status(counts)
    options.finish([(path, failure(root / path)) for path in unreadable])


@click.command(cls=ErrorHandlingCommand)
@click.argument("name", required=False)
@click.option("--out", type=FOLDER, help="The dataset's folder.  [default: $AIGID_DATA/NAME]")
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Downloads at a time.")
@click.option("--allow-missing", is_flag=True, help="Exit with status 0 though images are gone.")
def fetch(name: str | None, out: Path | None, jobs: int, allow_missing: bool) -> None:
    """Download the dataset NAME, image by image; without NAME list what can be had, from where, on which terms.

    NAME may be the path of a list of one's own. Each image is checked by its sha256; an interrupted call goes on.
    """
    from aigid.data import lists

    if name is None:
        for line in lists.describe():
            click.echo(line)
        return
    dataset = lists.read_list(name)
    if out is None:
        if not (data := os.environ.get("AIGID_DATA")):
            raise InputError(f"{name}: want --out FOLDER, or AIGID_DATA, below which it becomes {dataset.name}/")
        out = Path(data, dataset.name)
    from aigid.data.fetch import fetch as download

    print_status(f"{dataset.name}: {dataset.settings.licence}; {dataset.settings.not_allowed}".rstrip("; "))
    failed = download(dataset, out, jobs)
    print_status(f"{out}: {len(dataset.table) - len(failed)} of {len(dataset.table)} images")
    report_failures(failed)
    click.get_current_context().exit(int(bool(failed) and not allow_missing))


@click.command(cls=ErrorHandlingCommand)
@options.manifest
@options.root
@click.option("--sample", type=click.IntRange(2), default=1500, show_default=True, help="Images whose pixels are read.")
@click.option(
    "--fail-above",
    type=click.FloatRange(0.5, 1),
    help="Exit with status 1 if file properties predict the label with a higher AUROC.",
)
@options.as_json
@options.seed("the sample and the folds")
def audit(manifest_path: Path, root: AnyPath, sample: int, fail_above: float | None, as_json: bool, seed: int) -> None:
    """Audit a dataset before training on it: does the file format give the label away?"""
    from aigid.core import manifest
    from aigid.core.console import console
    from aigid.data.audit import report
    from aigid.data.audit.audit import AuditSettings, run_audit

    threshold = {} if fail_above is None else {"auroc_threshold": fail_above}
    settings = AuditSettings.model_validate({"max_images": sample} | threshold)
    result = run_audit(manifest.read(manifest_path), root, settings, seed)
    if as_json:
        click.echo(json.dumps(asdict(result), allow_nan=False))
    else:
        report.print_audit(result, console())
    failed = [(image.path, f"{image.status}: {image.message}") for image in result.unreadable]
    options.finish(failed, refused=fail_above is not None and result.refused)


@click.command(cls=ErrorHandlingCommand)
@options.manifest
@options.root
@click.option("--view", required=True, help="A named degradation; an unknown name lists the known.")
@options.seed("views that draw at random")
@click.option("--out", type=FOLDER, required=True, help="Folder for the images as PNG, manifest.csv and drawn.jsonl.")
def degrade(manifest_path: Path, root: AnyPath, view: str, seed: int, out: Path) -> None:
    """Write the images of MANIFEST as they look in a view, and what was drawn for each."""
    from aigid.core import manifest
    from aigid.degradations.views import export_view

    options.finish(export_view(manifest.read(manifest_path), root, view, seed, out))


@click.command(cls=ErrorHandlingCommand)
@options.manifest
@options.root
@click.option("--domain", required=True, help="vae: through an autoencoder and back; gan: shrunken and enlarged.")
@click.option("--weights", help="Of the autoencoder (else Stable Diffusion 2.1's, from the hub) or the 4x enlarger.")
@click.option("--model", help="vae: the repository on the hub.  [default: a maintained mirror of Stable Diffusion 2.1]")
@click.option("--revision", help="vae: of the repository.  [default: the one whose sha256 is known, else the newest]")
@click.option("--qualities", type=FILE, help="JSON of JPEG qualities by file name, for images that were JPEGs once.")
@click.option(
    "--container",
    type=click.Choice(["own", "png"]),
    default="own",
    show_default=True,
    help="own: as the real image's file; png: all as PNG.",
)
@options.seed("the samples that the autoencoder draws")
@options.engine
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for real/ and fake/ by split, manifest.csv, aligned.jsonl."
)
def align(
    manifest_path: Path,
    root: AnyPath,
    domain: str,
    weights: str | None,
    model: str | None,
    revision: str | None,
    qualities: Path | None,
    container: str,
    seed: int,
    engine: str | None,
    out: Path,
) -> None:
    """Write the real images of MANIFEST and aligned fakes: each remade by a generator, all else equal.

    Fakes that MANIFEST holds are left out. An interrupted call resumes.
    """
    from aigid.aligned.generator import AlignSettings, check_domain
    from aigid.core import manifest

    check_domain(domain)
    hub = {name: value for name, value in {"model": model, "revision": revision}.items() if value is not None}
    if hub and (domain != "vae" or weights):
        raise InputError(f"--{next(iter(hub))}: of the hub's autoencoder, which --domain vae without --weights takes")
    values = {"domain": domain, "weights": weights, "container": container, "seed": seed} | hub
    settings = AlignSettings.model_validate(values)
    table = manifest.read(manifest_path)
    from aigid.aligned.pairs import make_aligned_pairs, read_quality_map  # torch, once the call is known to be good

    known = None if qualities is None else read_quality_map(qualities)
    pairs = make_aligned_pairs(table, root, settings, out, engine, known)
    for line in pairs.describe():
        print_status(line)
    options.finish(pairs.failures)


@click.command(cls=ErrorHandlingCommand)
@click.argument("name")
def preset(name: str) -> None:
    """Write params.yaml for a known setting; an unknown name lists the known."""
    from aigid.cli import preset as presets

    for line in presets.write(name, Path("params.yaml")):
        click.echo(line)
