"""The `aigid` command: the library calls of the stages, without DVC."""

from pathlib import Path

import click

from aigid.command import Command, tell, tell_failed
from aigid.errors import InputError

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


class Group(click.Group):
    """A group whose commands end as `Command` says."""

    command_class = Command


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="aigid")
def main() -> None:
    """Detect AI-generated images, and say honestly how well.

    Exit status: 0 done; 1 done, but some inputs could not be read (each is named); 2 the call was wrong.
    """


@main.command()
@click.argument("root", type=FOLDER)
@click.option("--layout", required=True, help="How the dataset lies on disk; an unknown name lists the known.")
@click.option("--out", type=FILE, required=True, help="The manifest, .csv or .parquet.")
@click.option("--val", default=0.1, show_default=True, help="Share of train that becomes val where there is no val.")
@click.option("--test", default=0.0, show_default=True, help="Share of train that becomes test where there is no test.")
@click.option("--limit", type=int, help="Images to keep of each split and generator.")
@click.option("--seed", default=0, show_default=True)
@click.pass_context
def index(
    ctx: click.Context, root: Path, layout: str, out: Path, val: float, test: float, limit: int | None, seed: int
) -> None:
    """List the images below ROOT in a manifest."""
    from aigid.data import manifest
    from aigid.data.index import IndexSettings, describe
    from aigid.data.index import index as make_manifest
    from aigid.params import check

    settings = check({"layout": layout, "val": val, "test": test, "limit": limit}, IndexSettings, "aigid index")
    table, unreadable = make_manifest(root, settings, seed, tell)
    manifest.write(table, out)
    tell(describe(table))
    tell_failed([(path, "cannot be read") for path in unreadable])
    ctx.exit(1 if unreadable else 0)


@main.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=FOLDER, required=True, help="The folder that the manifest's paths start from.")
@click.option("--backbone", required=True, help="A name; an unknown one lists the known.")
@click.option("--weights", help="A local file or folder in the library's format, instead of the hub.")
@click.option(
    "--view", "views", multiple=True, default=("clean",), help="A named degradation; may stand several times."
)
@click.option("--seed", default=0, show_default=True, help="Of the views that draw at random.")
@click.option("--out", type=FILE, required=True, help="The embedding file, .h5.")
@click.pass_context
def extract(
    ctx: click.Context,
    manifest_path: Path,
    root: Path,
    backbone: str,
    weights: str | None,
    views: tuple[str, ...],
    seed: int,
    out: Path,
) -> None:
    """Embed the images of MANIFEST with a frozen backbone."""
    from aigid.data import manifest
    from aigid.features.backbones import resolve

    settings = resolve(backbone, {"weights": weights} if weights else {})
    table = manifest.read(manifest_path)
    from aigid.features.extract import extract as embed  # torch, once the call is known to be good

    extraction = embed(table, root, settings, views, seed)
    extraction.write(out)
    tell_failed([(sample.path, f"{sample.status}: {sample.message}") for sample in extraction.failed])
    ctx.exit(1 if extraction.failed else 0)


@main.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=FOLDER, required=True, help="The folder that the manifest's paths start from.")
@click.option("--sample", default=2000, show_default=True, help="Images whose pixels are looked at.")
@click.option("--fail-above", type=float, help="End with status 1 where the container tells the label better (AUROC).")
@click.option("--json", "as_json", is_flag=True, help="Print the audit as one JSON document.")
@click.option("--seed", default=0, show_default=True, help="Of the sample and the folds.")
@click.pass_context
def audit(
    ctx: click.Context, manifest_path: Path, root: Path, sample: int, fail_above: float | None, as_json: bool, seed: int
) -> None:
    """Examine a dataset before anyone trains on it: does the file format give the label away?"""
    import json

    from rich.console import Console

    from aigid.data import manifest
    from aigid.data.audit import page, record
    from aigid.data.audit.doctor import AuditSettings, examine
    from aigid.params import check

    limit = {} if fail_above is None else {"limit": fail_above}
    settings = check({"sample": sample} | limit, AuditSettings, "aigid audit")
    found = examine(manifest.read(manifest_path), root, settings, seed)
    if as_json:
        click.echo(json.dumps(record.document(found), allow_nan=False))
    else:
        page.show(found, Console())
    tell_failed([(one.path, f"{one.status}: {one.message}") for one in found.unreadable])
    ctx.exit(1 if found.unreadable or (fail_above is not None and found.refused) else 0)


@main.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FILE)
@click.option("--root", type=FOLDER, required=True, help="The folder that the manifest's paths start from.")
@click.option("--view", required=True, help="A named degradation; an unknown name lists the known.")
@click.option("--seed", default=0, show_default=True, help="Of views that draw at random.")
@click.option("--out", type=FOLDER, required=True, help="Gets the images as PNG, manifest.csv and drawn.jsonl.")
@click.pass_context
def degrade(ctx: click.Context, manifest_path: Path, root: Path, view: str, seed: int, out: Path) -> None:
    """Write the images of MANIFEST as they look in a view, and what was drawn for each."""
    from aigid.data import manifest
    from aigid.degrade.rewrite import rewrite

    failed = rewrite(manifest.read(manifest_path), root, view, seed, out)
    tell_failed(failed)
    ctx.exit(1 if failed else 0)


@main.command()
@click.argument("files", metavar="SCORES...", type=FILE, nargs=-1, required=True)
@click.option(
    "--columns", "columns", multiple=True, metavar="OURS=THEIRS", help="Another tool's names: score=prob_fake."
)
@click.option("--out", type=FOLDER, help="Gets metrics/, details/, plots/ and report/.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON document.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.pass_context
def evaluate(
    ctx: click.Context, files: tuple[Path, ...], columns: tuple[str, ...], out: Path | None, as_json: bool, seed: int
) -> None:
    """Judge the scores of any detector, whoever's tool wrote them.

    SCORES are .csv or .parquet files with the columns path, label (0 real, 1 generated), generator, split, view,
    score (P(generated)) and optionally source, group, class_<name>. Several files are compared.
    """
    import json

    from rich.console import Console

    from aigid.evaluation import report, results, scores, terminal
    from aigid.evaluation.judge import judge

    names = _names(files)
    mapping = dict(_pair(text) for text in columns)
    found = {name: judge(scores.read(path, mapping), seed) for name, path in zip(names, files, strict=True)}
    if out:
        for name, judgement in found.items():
            results.write(judgement, out, name, "scores")
        report.write(out, out / "report", [(name, "scores") for name in names])
    if as_json:
        documents = {name: judgement.metrics for name, judgement in found.items()}
        click.echo(json.dumps(documents if len(names) > 1 else documents[names[0]], allow_nan=False))
        for name, judgement in found.items():
            for key, reason in judgement.omitted.items():
                tell(f"{name}: no {key}: {reason}")
    else:
        terminal.show(found, Console())
    ctx.exit(1 if any(judgement.metrics["num_unreadable"] for judgement in found.values()) else 0)


def _names(files: tuple[Path, ...]) -> list[str]:
    """What tells score files apart: their stems, or else their folders."""
    for names in ([path.stem for path in files], [path.parent.name for path in files]):
        if len(set(names)) == len(files):
            return names
    raise InputError("score files need names, or folders, of their own to be told apart")


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs):
        raise InputError(f"--columns {text!r}: want OURS=THEIRS, such as score=prob_fake")
    return ours, theirs


@main.command()
@click.argument("name")
def preset(name: str) -> None:
    """Write params.yaml for a known setting; an unknown name lists the known."""
    from aigid import preset as presets

    for line in presets.write(name, Path("params.yaml")):
        click.echo(line)
