"""Commands on scores."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE, FOLDER, ROOT
from aigid.core.console import ErrorHandlingCommand, print_status
from aigid.core.errors import InputError
from aigid.core.paths import AnyPath

if TYPE_CHECKING:
    import pandas as pd

    from aigid.evaluation.evaluate import EvaluationResult, Section
    from aigid.metrics.calibration import Calibrator
    from aigid.metrics.decisions import EvaluationSettings


@click.command(cls=ErrorHandlingCommand)
@click.argument("files", metavar="SCORES...", type=FILE, nargs=-1, required=True)
@click.option(
    "--columns", "rename_columns", multiple=True, metavar="OURS=THEIRS", help="Another tool's names: score=prob_fake."
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Also break down by this column, or with --root by size or compression.",
)
@click.option(
    "--root", type=ROOT, help="Folder of the images: to show the worst errors, and for --by size, compression."
)
@click.option("--manifest", "manifest_path", type=FILE, help="Of the dataset: also judge what is in test alone.")
@click.option("--protocol", help="Add the numbers of a paper's protocol; an unknown name lists the known.")
@click.option("--calibrator", type=FILE, help="Calibrate by another run's calibration/*.json.")
@options.decisions
@click.option("--out", type=FOLDER, help="Folder for metrics/, details/, plots/, calibration/ and report/.")
@options.as_json
@options.seed("the bootstrap")
@click.pass_context
def evaluate(
    ctx: click.Context,
    files: tuple[Path, ...],
    rename_columns: tuple[str, ...],
    by: tuple[str, ...],
    root: AnyPath | None,
    manifest_path: Path | None,
    protocol: str | None,
    calibrator: Path | None,
    out: Path | None,
    as_json: bool,
    seed: int,
    settings: EvaluationSettings,
) -> None:
    """Evaluate the scores of any detector, whichever tool wrote them.

    SCORES are .csv or .parquet files with the columns path, label (0 real, 1 generated), generator, split, view,
    score (P(generated)) and optionally source, group, class_<name>. Several files are compared, pair by pair.
    Validation rows fit the calibrator and choose thresholds; test rows are evaluated.
    """
    from aigid.core import manifest, scores
    from aigid.evaluation import comparison, protocols
    from aigid.evaluation.evaluate import evaluate
    from aigid.metrics import decisions

    requested = protocols.find(protocol) if protocol else None
    mapping = dict(_pair(text) for text in rename_columns)
    mapped = decisions.load(calibrator).calibrator if calibrator else None
    images = manifest.read(manifest_path) if manifest_path else None
    frames = {name: scores.read(path, mapping) for name, path in zip(_names(files), files, strict=True)}
    evaluated, published = {}, {}
    for (name, frame), path in zip(frames.items(), files, strict=True):
        try:
            frame = frames[name] = frame if mapped is None else _calibrated(frame, mapped, path)
            numbers = requested.apply(frame) if requested else {}
            _refuse_other_images(frame, images, manifest_path)
            rows = _with_strata(frame, root, by)
            evaluated[name] = evaluate(rows, seed, strata=list(by), settings=settings, manifest=images)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        published[name] = numbers
        evaluated[name].metrics.update({f"{protocol}_{key}": value for key, value in numbers.items()})
        evaluated[name].run_info.update(_run_info(path, protocol, calibrator))
    differences, refused = comparison.compare_all(frames, seed)
    if out:
        _write(out, evaluated, differences, refused, root, protocols.section(protocol, published) if protocol else None)
    if out and protocol == "defactify":
        _submit(out, frames)
    _print(evaluated, differences, refused, as_json)
    ctx.exit(1 if any(result.metrics["num_unreadable"] for result in evaluated.values()) else 0)


@click.command(cls=ErrorHandlingCommand)
@click.argument("bundle", type=FOLDER)
@click.option("--results", type=FOLDER, required=True, help="Holds metrics/ and details/, as of `aigid evaluate`.")
@click.option("--detector", help="Its name there.  [default: the bundle's]")
@click.option("--dataset", help="What it was judged on.  [default: the dataset that it learnt from]")
@click.option("--manifest", "manifest_path", type=FILE, help="Of what it learnt from.  [default: `aigid fetch`'s list]")
@click.option("--edits", type=FILE, help="A table of false alarms on edited photographs to quote, .csv.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), required=True, help="The day that the card states.")
@click.option("--out", type=FILE, help="The card, .md.  [default: standard output]")
def card(
    bundle: Path,
    results: Path,
    detector: str | None,
    dataset: str | None,
    manifest_path: Path | None,
    edits: Path | None,
    date: datetime,
    out: Path | None,
) -> None:
    """Write the model card of BUNDLE: what it learnt from, what it is worth, where it fails.

    Equal arguments give equal bytes: the date is one of them.
    """
    from aigid.core import manifest
    from aigid.core.files import write_text
    from aigid.data import lists
    from aigid.evaluation.comparison import SHALLOW
    from aigid.evaluation.evaluate import read_results
    from aigid.report import cards, false_alarms

    metadata = cards.read_metadata(bundle)
    learnt_from = metadata["origin"]["training"].get("dataset", "")
    name, dataset = detector or metadata["detector"], dataset or learnt_from
    if manifest_path is None and learnt_from not in lists.known_lists():
        raise InputError(f"{bundle}: learnt from {learnt_from!r}, which is no list of `aigid fetch`: want --manifest")
    table = manifest.read(manifest_path) if manifest_path else lists.read_list(learnt_from).table
    if (images := cards.training_images(metadata, table)) is None:
        raise InputError(f"{manifest_path or learnt_from}: holds other images than those that {bundle} learnt from")
    by_cell = read_results(results, [(name, dataset)])
    evaluated = {key: by_cell[key, dataset] for key in (name, SHALLOW) if (key, dataset) in by_cell}
    edited = false_alarms.read(edits) if edits else None
    text = cards.markdown(name, metadata, {dataset: evaluated}, images, f"{date:%Y-%m-%d}", edited)
    write_text(out, text) if out else click.echo(text, nl=False)


def _write(
    out: Path,
    evaluated: dict[str, EvaluationResult],
    differences: pd.DataFrame,
    refused: list[str],
    root: AnyPath | None,
    protocol: Section | None,
) -> None:
    from aigid.evaluation.evaluate import read_results, write_result
    from aigid.report import report

    for name, result in evaluated.items():
        write_result(result, out, name, "scores")
    run_info, sections = {"command": shlex.join(["aigid", *sys.argv[1:]])}, {"Protocol": protocol} if protocol else {}
    images = {} if root is None else {"scores": root}
    report.write(read_results(out), out / "report", refused, run_info, {"scores": differences}, sections, images)


def _submit(out: Path, frames: dict[str, pd.DataFrame]) -> None:
    from aigid.evaluation import attribution

    for name, frame in frames.items():
        try:
            attribution.write_submission(attribution.submission(frame), out / "answers", name)
        except InputError as error:
            print_status(f"{name}: no answer file: {error}")


def _print(
    evaluated: dict[str, EvaluationResult], differences: pd.DataFrame, refused: list[str], as_json: bool
) -> None:
    from aigid.core.console import console
    from aigid.report import summary_tables

    if as_json:
        documents = {name: result.metrics for name, result in evaluated.items()}
        click.echo(json.dumps(documents if len(evaluated) > 1 else next(iter(documents.values())), allow_nan=False))
        for name, result in evaluated.items():
            for key, reason in result.missing_metrics.items():
                print_status(f"{name}: no {key}: {reason}")
            for line in result.warnings:
                print_status(f"{name}: warning: {line}")
    else:
        summary_tables.show(evaluated, console(), differences)
    for line in refused:
        print_status(f"not compared: {line}")


def _calibrated(frame: pd.DataFrame, calibrator: Calibrator, path: Path) -> pd.DataFrame:
    from aigid.metrics.calibration import require_same_model

    if caution := require_same_model(calibrator, set(frame.get("model", [""]))):
        print_status(f"{path}: {caution}")
    return frame.assign(score=calibrator(frame["score"]))


def _run_info(path: Path, protocol: str | None, calibrator: Path | None) -> dict[str, str]:
    from aigid.core.files import sha256

    run_info = {"sha256 of the scores": sha256(path)} | ({"protocol": protocol} if protocol else {})
    return run_info | ({"scores mapped by calibrator of sha256": sha256(calibrator)} if calibrator else {})


def _with_strata(frame: pd.DataFrame, root: AnyPath | None, by: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows with their ``size`` and ``compression`` where these are asked for and the images are at hand."""
    missing = {"size", "compression"} & set(by) - set(frame.columns)
    if root is None or not missing:
        return frame
    from aigid.images import properties

    paths = frame.loc[frame["split"] == "test", "path"].drop_duplicates().reset_index(drop=True)
    headers, _ = properties.container_features(paths.tolist(), str(root))
    return frame.merge(properties.to_strata(headers.assign(path=paths))[["path", *missing]], on="path", how="left")


def _refuse_other_images(frame: pd.DataFrame, images: pd.DataFrame | None, path: Path | None) -> None:
    """Raise InputError where a manifest lacks a test image, or has it in another split or with another label."""
    if images is None:
        return
    frame, listed = frame[frame["split"] == "test"], images.set_index("path")
    if len(other := frame.loc[~frame["path"].isin(listed.index), "path"]):
        raise InputError(f"{path} has no {other.iloc[0]!r} ({other.nunique()} such images)")
    for column in ("label", "split"):
        theirs = listed.loc[frame["path"], column].to_numpy()
        if (differ := frame[column].to_numpy() != theirs).any():
            row = int(differ.argmax())
            ours = frame[column].iloc[row]
            raise InputError(f"{path}, {frame['path'].iloc[row]!r}: its {column} is {theirs[row]}, here {ours}")


def _names(files: tuple[Path, ...]) -> list[str]:
    """Return what tells score files apart: their stems, or else their folders."""
    for names in ([path.stem for path in files], [path.parent.name for path in files]):
        if len(set(names)) == len(files):
            return names
    raise InputError("score files need different names, or lie in different folders")


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs):
        raise InputError(f"--columns {text!r}: want OURS=THEIRS, such as score=prob_fake")
    return ours, theirs
