"""What several commands take and how they end: kinds of path, options, the exit status."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click

from aigid.core.console import report_failures
from aigid.core.errors import InputError
from aigid.core.folders import lock_folder
from aigid.core.paths import AnyPath, as_path
from aigid.metrics import CalibratorKind, Period
from aigid.prediction import EXPORTED

Command = Callable[..., None]
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
SHARE, ERROR = click.FloatRange(0, 1, max_open=True), click.FloatRange(0, 1, min_open=True, max_open=True)


def directory(value: str) -> AnyPath:
    """Return the path of a folder, here or by its address."""
    return as_path(value)


def bundle(value: str) -> Path | str:
    """Return the path of a bundle, or its address on the hub."""
    return value if value.startswith("hf://") else Path(value)


BUNDLE = click.types.FuncParamType(bundle)
ROOT = click.types.FuncParamType(directory)
manifest = click.argument("manifest_path", metavar="MANIFEST", type=FILE)
root = click.option("--root", type=ROOT, required=True, help="The folder that the manifest's paths start from.")
views = click.option("--view", "views", multiple=True, default=("clean",), help="A named degradation; repeatable.")
engine = click.option("--engine", help="What computes it: local or ray.  [default: $AIGID_ENGINE, else local]")
weights = click.option("--weights", help="Local weights of the bundle's backbone.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def seed(use: str) -> Callable[[Command], Command]:
    """Add ``--seed``; ``use`` says of what."""
    return click.option("--seed", default=0, show_default=True, help=f"Seed of {use}.")


def decisions(command: Command) -> Command:
    """Add the options that decide over scores; the command gets them as ``settings``."""

    @click.option(
        "--calibrate",
        type=click.Choice(get_args(CalibratorKind)),
        default="platt",
        show_default=True,
        help="How scores become probabilities.",
    )
    @click.option(
        "--fpr", type=SHARE, default=0.05, show_default=True, help="The false positive rate that the threshold aims at."
    )
    @click.option(
        "--alpha",
        type=ERROR,
        default=0.1,
        show_default=True,
        help="Share of a class that may be wrong where a verdict is given.",
    )
    @wraps(command)
    def with_settings(*args: Any, calibrate: str, fpr: float, alpha: float, **kwargs: Any) -> None:
        from aigid.metrics.decisions import EvaluationSettings

        settings = EvaluationSettings.model_validate({"calibrator": calibrate, "fpr": fpr, "alpha": alpha})
        command(*args, settings=settings, **kwargs)

    return with_settings


def over_time(command: Command) -> Command:
    """Add ``--over-time`` to a command that gets ``settings``; they get its period."""

    @click.option(
        "--over-time",
        "period",
        type=click.Choice(get_args(Period)),
        help="Batches of what the column extra_date says.  [default: each date as it is written]",
    )
    @wraps(command)
    def with_period(*args: Any, period: str | None, settings: Any, **kwargs: Any) -> None:
        command(*args, settings=settings.model_copy(update={"period": period}), **kwargs)

    return with_period


def check_bundles(sources: Sequence[Path | str]) -> None:
    """Raise InputError where a folder holds no bundle; an address is looked up when it is loaded."""
    from aigid.core.bundle_files import METADATA

    for folder in sources:
        if isinstance(folder, Path) and not (folder if folder.suffix == EXPORTED else folder / METADATA).is_file():
            raise InputError(f"--model {folder}: no bundle; `dvc repro` makes some, `aigid import` brings others")


def lock(folder: Path) -> None:
    """Keep other calls from writing to an output folder until the command ends; it is created."""
    click.get_current_context().with_resource(lock_folder(folder))


def finish(failed: Sequence[tuple[str, str]], refused: bool = False) -> None:
    """Name the images that could not be read, (path, reason); end with status 1 if there are any or ``refused``."""
    report_failures(failed)
    click.get_current_context().exit(1 if failed or refused else 0)
