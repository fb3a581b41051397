"""Commands on scores."""

from pathlib import Path

import click

from aigid.command import Command, tell
from aigid.commands.paths import FILE, FOLDER
from aigid.errors import InputError


@click.command(cls=Command)
@click.argument("files", metavar="SCORES...", type=FILE, nargs=-1, required=True)
@click.option(
    "--columns", "columns", multiple=True, metavar="OURS=THEIRS", help="Another tool's names: score=prob_fake."
)
@click.option("--by", multiple=True, metavar="COLUMN", help="Detail the metrics by a further column; repeatable.")
@click.option("--protocol", help="Add the numbers of a paper's protocol; an unknown name lists the known.")
@click.option("--out", type=FOLDER, help="Gets metrics/, details/, plots/ and report/.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as one JSON document.")
@click.option("--seed", default=0, show_default=True, help="Of the bootstrap.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    files: tuple[Path, ...],
    columns: tuple[str, ...],
    by: tuple[str, ...],
    protocol: str | None,
    out: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Judge the scores of any detector, whoever's tool wrote them.

    SCORES are .csv or .parquet files with the columns path, label (0 real, 1 generated), generator, split, view,
    score (P(generated)) and optionally source, group, class_<name>. Several files are compared, pair by pair.
    """
    import json

    from aigid.commands.terminal import console
    from aigid.evaluation import comparison, protocols, report, results, scores, terminal
    from aigid.evaluation.judge import judge

    mapping = dict(_pair(text) for text in columns)
    frames = {name: scores.read(path, mapping) for name, path in zip(_names(files), files, strict=True)}
    found = {}
    for (name, frame), path in zip(frames.items(), files, strict=True):
        try:
            found[name] = judge(frame, seed, by=list(by))
            numbers = protocols.apply(protocol, frame) if protocol else {}
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        found[name].metrics.update({f"{protocol}_{key}": value for key, value in numbers.items()})
    differences, refused = comparison.compare_all(frames, seed)
    if out:
        for name, judgement in found.items():
            results.write(judgement, out, name, "scores")
        facts = {"command": " ".join(["aigid evaluate", *map(str, files)]), "seed": str(seed)}
        wanted = [(name, "scores") for name in found]
        report.write(out, out / "report", wanted, refused, facts, {"scores": differences})
    if as_json:
        documents = {name: judgement.metrics for name, judgement in found.items()}
        click.echo(json.dumps(documents if len(found) > 1 else next(iter(documents.values())), allow_nan=False))
        for name, judgement in found.items():
            for key, reason in judgement.omitted.items():
                tell(f"{name}: no {key}: {reason}")
    else:
        terminal.show(found, console(), differences)
    for line in refused:
        tell(f"not compared: {line}")
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
