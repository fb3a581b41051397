"""Learn OCC-CLIP's prompts on a dataset's embeddings, by the text tower of the same CLIP."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base.models import Model, save
from aigid.detectors.base.origin import of_embeddings
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.scoring import validate
from aigid.detectors.occ.detector import OccClip
from aigid.detectors.occ.settings import OccSettings
from aigid.features.backbones import resolve


@click.command(cls=Command, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The model's folder.")
def main(manifest_path: Path, embeddings: Path, out: Path) -> None:
    settings, seed = params.load("occ", OccSettings), params.load("seed", int)
    demonstration = settings.dataset in params.load("demo", dict)
    backbone = resolve(settings.backbone, params.load(f"backbones.{settings.backbone}", dict))
    dataset = open_dataset(manifest.read(manifest_path), [embeddings])
    from aigid.features.text import load  # torch, once the parameters are known to be good

    tower = load(backbone, settings.backbone)
    fitted = OccClip.fit(settings, dataset.split("train"), dataset.split("val"), seed, tower)
    made_from = of_embeddings(settings.dataset, manifest_path, dataset, demonstration)
    said, scores = settings.model_dump(mode="json"), validate(fitted, dataset)
    save(Model("occ", fitted, said, dataset.fingerprints, made_from, scores), out)


if __name__ == "__main__":
    main()
