"""Fit a detector on a dataset's embeddings."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base import origin
from aigid.detectors.base.models import Model, save
from aigid.detectors.base.registry import find
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.scoring import validate


@click.command(cls=Command, help=__doc__)
@click.option("--detector", required=True, help="Name of the detector and of its section in params.yaml.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Several stand side by side.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
def main(detector: str, manifest_path: Path, embeddings: tuple[Path, ...], out: Path) -> None:
    kind = find(detector)
    settings, seed = params.load(detector, kind.Settings), params.load("seed", int)
    demonstration = settings.dataset in params.load("demo", dict)
    dataset = open_dataset(manifest.read(manifest_path), embeddings)
    views = getattr(settings, "views", ("clean",))
    fitted = kind.fit(settings, dataset.split_in("train", views), dataset.split_in("val", views), seed)
    made_from = origin.of_embeddings(settings.dataset, manifest_path, dataset, demonstration)
    said, scores = settings.model_dump(mode="json"), validate(fitted, dataset)
    save(Model(detector, fitted, said, dataset.fingerprints, made_from, scores), out)


if __name__ == "__main__":
    main()
