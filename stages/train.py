"""Fit a detector on a dataset's embeddings or images; one that makes checkpoints goes on from the last after a kill.

``AIGID_PROCESSES=N``: N processes share each step, where the detector can.
"""

import os
from pathlib import Path

import click

from aigid.core import params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError
from aigid.core.files import dataset_root, is_pipeline_output
from aigid.core.paths import parse_named_paths
from aigid.core.tables import write_csv_logs
from aigid.detectors import get_detector, settings_of
from aigid.detectors.bundle import Bundle, count_images, provenance_of, save, validate
from aigid.detectors.samples import open_samples
from aigid.training.launch import launch


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--detector", required=True, help="Name of the detector and of its section in params.yaml.")
@click.option("--dataset", help="Whose images it learns from.  [default: the section's dataset]")
@click.option("--manifest", "manifests", multiple=True, required=True, help="PATH; of several, NAME=PATH of each.")
@click.option("--input", "inputs", type=Path, multiple=True, help="Embedding files of one manifest, or it: images.")
@click.option("--component", "components", multiple=True, help="NAME=PATH of a folder that the detector needs.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, help="Folder of the training's logs.")
def main(
    detector: str,
    dataset: str | None,
    manifests: tuple[str, ...],
    inputs: tuple[Path, ...],
    components: tuple[str, ...],
    out: Path,
    log: Path | None,
) -> None:
    settings, seed = params.load_section(detector, settings_of(detector)), params.load_section("seed", int)
    tables, dataset = parse_named_paths(manifests), dataset or getattr(settings, "dataset", None)
    if dataset is None:
        raise InputError(f"--dataset is missing, and the section {detector} of params.yaml has no dataset")
    files = [path for path in inputs if path.suffix != ".csv"]
    samples = open_samples(tables, files, Path() if files else dataset_root(dataset), seed)
    launch(get_detector(detector).plan(settings, samples.subset("train").table, seed))
    views = getattr(settings, "views", ("clean",))
    train, val = (samples.split(name, views) if files else samples.subset(name) for name in ("train", "val"))
    fitted = get_detector(detector).fit(settings, train, val, seed, **parse_named_paths(components))
    if os.environ.get("RANK", "0") != "0":
        return
    origin = provenance_of(dataset, next(iter(tables.values())), samples, fitted, is_pipeline_output(dataset))
    dumped, scores = settings.model_dump(mode="json"), validate(fitted, samples)
    save(Bundle(detector, fitted, dumped, fitted.fingerprints(samples), origin, scores), out)
    if log:
        write_csv_logs({"images": count_images(samples.table, fitted.learns_from), **fitted.logs}, log)


if __name__ == "__main__":
    main()
