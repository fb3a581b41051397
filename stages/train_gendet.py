"""Train GenDet behind its teacher: the rotations of student and augmenter, then the classifier."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors import training_log
from aigid.detectors.base import origin
from aigid.detectors.base.models import Model, load, require_same_backbone, save
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.scoring import validate
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.settings import GenDetSettings


@click.command(cls=Command, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Those that the teacher was trained on.")
@click.option("--teacher", "teacher_folder", type=Path, required=True, help="The teacher's folder.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
@click.option("--log", type=Path, required=True, help="Folder of rotations.csv and classifier.csv.")
def main(manifest_path: Path, embeddings: tuple[Path, ...], teacher_folder: Path, out: Path, log: Path) -> None:
    settings, seed = params.load("gendet", GenDetSettings), params.load("seed", int)
    demonstration = settings.dataset in params.load("demo", dict)
    dataset, teacher = open_dataset(manifest.read(manifest_path), embeddings), load(teacher_folder)
    require_same_backbone(teacher, dataset)
    detector = GenDet.fit(settings, dataset.split("train"), dataset.split("val"), seed, teacher.detector)
    made_from = origin.of_embeddings(settings.dataset, manifest_path, dataset, demonstration)
    said, scores = settings.model_dump(mode="json"), validate(detector, dataset)
    save(Model("gendet", detector, said, dataset.fingerprints, made_from, scores), out)
    training_log.write(detector.logs, log)


if __name__ == "__main__":
    main()
