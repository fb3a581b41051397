"""Commands on scores."""

from __future__ import annotations

import json
import shlex
import sys
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
@click.option("--scale", help="What the scores are: probability (the default), logit or percent.")
@click.option("--threshold", type=float, help="Also judge at this threshold, of the scale of the scores.")
@options.decisions
@options.over_time
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
    scale: str | None,
    threshold: float | None,
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
    from aigid.core import manifest
    from aigid.evaluation import protocols
    from aigid.evaluation.evaluate import evaluate
    from aigid.metrics import decisions

    requested, cut = protocols.find(protocol) if protocol else None, _threshold(threshold, scale, calibrator)
    mapped = decisions.load(calibrator).calibrator if calibrator else None
    images = manifest.read(manifest_path) if manifest_path else None
    frames = _read(files, rename_columns, scale, settings.period, compact=protocol is None)
    evaluated, published = {}, {}
    for (name, frame), path in zip(frames.items(), files, strict=True):
        try:
            frame = frames[name] = frame if mapped is None else _calibrated(frame, mapped, path)
            published[name] = requested.apply(frame) if requested else {}
            _refuse_other_images(frame, images, manifest_path)
            rows = _with_strata(frame, root, by)
            evaluated[name] = evaluate(rows, seed, strata=list(by), settings=settings, manifest=images)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        numbers = {f"{protocol}_{key}": value for key, value in published[name].items()}
        evaluated[name].metrics.update(numbers | _at_threshold(frame, cut))
        evaluated[name].run_info.update(_run_info(path, protocol, calibrator, scale))
    differences, cautioned = _compare(frames, files, seed)
    if out:
        sections = {"Protocol": protocols.section(protocol, published)} if protocol else {}
        _write(out, evaluated, differences, cautioned, root, sections)
        _submit(out, frames if protocol == "defactify" else {})
    _print(evaluated, differences, cautioned, as_json)
    ctx.exit(1 if any(result.metrics["num_unreadable"] for result in evaluated.values()) else 0)


def _read(
    files: tuple[Path, ...], rename_columns: tuple[str, ...], scale: str | None, period: str | None, compact: bool
) -> dict[str, pd.DataFrame]:
    from aigid.core import scores

    mapping, frames = dict(map(_pair, rename_columns)), {}
    for name, path in zip(_names(files), files, strict=True):
        frames[name] = scores.read(path, mapping, scale or scores.PROBABILITY, compact)
        if period and not any(frames[name].get(scores.DATE, ())):
            raise InputError(f"{path}: --over-time {period}: no image has a date in a column {scores.DATE!r}")
    return frames


def _threshold(threshold: float | None, scale: str | None, calibrator: Path | None) -> float | None:
    from aigid.core import scores

    if scale not in (None, *scores.SCALES):
        raise InputError(f"--scale {scale!r}: want {', '.join(scores.SCALES)}")
    if threshold is not None and calibrator:
        raise InputError("--threshold is of the scores as they are given: not with --calibrator, which maps them")
    return None if threshold is None else scores.threshold_to_probability(threshold, scale or scores.PROBABILITY)


def _at_threshold(frame: pd.DataFrame, threshold: float | None) -> dict[str, float]:
    if threshold is None:
        return {}
    from aigid.core.scores import default_view
    from aigid.evaluation.breakdown import given_threshold_metrics

    test = frame[frame["split"] == "test"]
    return given_threshold_metrics(test[test["view"] == default_view(test)], threshold)


def _compare(frames: dict[str, pd.DataFrame], files: tuple[Path, ...], seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of differences, and a line for what is not, or hardly, comparable."""
    from aigid.core import scores
    from aigid.evaluation import cautions, comparison

    versions = {name: scores.read_versions(path) for name, path in zip(frames, files, strict=True)}
    differences, refused = comparison.compare_all(frames, seed, versions=versions)
    return differences, [*cautions.on_versions(versions), *(f"not compared: {line}" for line in refused)]


def _write(
    out: Path,
    evaluated: dict[str, EvaluationResult],
    differences: pd.DataFrame,
    cautioned: list[str],
    root: AnyPath | None,
    sections: dict[str, Section],
) -> None:
    from aigid.evaluation.evaluate import read_results, write_result
    from aigid.report import report

    options.lock(out)
    for name, result in evaluated.items():
        write_result(result, out, name, "scores")
    run_info, images = {"command": shlex.join(["aigid", *sys.argv[1:]])}, {"scores": root} if root else {}
    report.write(read_results(out), out / "report", cautioned, run_info, {"scores": differences}, sections, images)


def _submit(out: Path, frames: dict[str, pd.DataFrame]) -> None:
    from aigid.evaluation import attribution

    for name, frame in frames.items():
        try:
            attribution.write_submission(attribution.submission(frame), out / "answers", name)
        except InputError as error:
            print_status(f"{name}: no answer file: {error}")


def _print(
    evaluated: dict[str, EvaluationResult], differences: pd.DataFrame, cautioned: list[str], as_json: bool
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
    for line in cautioned:
        print_status(line)


def _calibrated(frame: pd.DataFrame, calibrator: Calibrator, path: Path) -> pd.DataFrame:
    from aigid.metrics.calibration import require_same_model

    if caution := require_same_model(calibrator, set(frame.get("model", [""]))):
        print_status(f"{path}: {caution}")
    return frame.assign(score=calibrator(frame["score"]))


def _run_info(path: Path, protocol: str | None, calibrator: Path | None, scale: str | None) -> dict[str, str]:
    from aigid.core.files import sha256

    run_info = {"sha256 of the scores": sha256(path)} | ({"protocol": protocol} if protocol else {})
    run_info |= {"scale of the scores": scale} if scale else {}
    return run_info | ({"scores mapped by calibrator of sha256": sha256(calibrator)} if calibrator else {})


def _with_strata(frame: pd.DataFrame, root: AnyPath | None, by: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows with their ``size`` and ``compression`` where these are asked for and the images are at hand."""
    if root is None or not (missing := {"size", "compression"} & set(by) - set(frame.columns)):
        return frame
    from aigid.core.traits import to_strata
    from aigid.images.properties import container_features

    paths = frame.loc[frame["split"] == "test", "path"].drop_duplicates().reset_index(drop=True)
    headers, _ = container_features(paths.tolist(), str(root))
    return frame.merge(to_strata(headers.assign(path=paths))[["path", *missing]], on="path", how="left")


def _refuse_other_images(frame: pd.DataFrame, images: pd.DataFrame | None, path: Path | None) -> None:
    """Raise InputError where a manifest lacks a test image, or has it in another split or with another label."""
    if images is None:
        return
    frame, listed = frame[frame["split"] == "test"], images.set_index("path")
    if len(other := frame["path"][~frame["path"].isin(listed.index)]):
        raise InputError(f"{path} has no {other.iloc[0]!r} ({other.nunique()} such images)")
    for column in ("label", "split"):
        theirs = listed.loc[frame["path"], column].to_numpy()
        if (differ := frame[column].to_numpy() != theirs).any():
            row = frame.iloc[at := int(differ.argmax())]
            raise InputError(f"{path}, {row['path']!r}: its {column} is {theirs[at]}, here {row[column]}")


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
