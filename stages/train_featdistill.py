"""Train one expert of FeatDistill, stage 1 or stage 2; after a kill it goes on from its last checkpoint.

``AIGID_PROCESSES=N``: N processes share each step.
"""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError
from aigid.core.files import dataset_root
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.training.launch import launch


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--expert", required=True, help="A name under featdistill.experts.")
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--start", type=Path, help="Stage 1's folder of the same expert; without it, this is stage 1.")
@click.option("--out", type=Path, required=True, help="The expert's folder.")
@click.option("--log", type=Path, required=True, help="One row an epoch, .csv.")
def main(expert: str, dataset: str, manifest_path: Path, start: Path | None, out: Path, log: Path) -> None:
    settings, seed = params.load_section("featdistill", FeatDistillSettings), params.load_section("seed", int)
    if expert not in settings.experts:
        raise InputError(f"unknown expert {expert!r}; known: {', '.join(settings.experts)}")
    images, root = manifest.read_to_learn(manifest_path), dataset_root(dataset)
    from aigid.detectors.featdistill import training  # torch, once the parameters are known to be good

    launch(training.StageRun(settings, expert, 1 if start is None else 2, images, root, seed).plan())
    epochs = training.train_stage(settings, expert, images, root, seed, out, start)
    if epochs is not None:
        tables.write(epochs, log)


if __name__ == "__main__":
    main()
