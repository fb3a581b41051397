"""Train the teacher of GenDet on a dataset's embeddings; any number of students can be held against it."""

from pathlib import Path

import click

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors import training_log
from aigid.detectors.base.models import Model, save
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.settings import TeacherSettings


@click.command(cls=Command, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Several stand side by side.")
@click.option("--out", type=Path, required=True, help="The teacher's folder: a detector of its own.")
@click.option("--log", type=Path, required=True, help="Folder of teacher.csv, a line an epoch.")
def main(manifest_path: Path, embeddings: tuple[Path, ...], out: Path, log: Path) -> None:
    settings, seed = params.load("gendet.teacher", TeacherSettings), params.load("seed", int)
    dataset = open_dataset(manifest.read(manifest_path), embeddings)
    teacher = GenDet.fit_teacher(settings, dataset.split("train"), dataset.split("val"), seed)
    save(Model("gendet", teacher, settings.model_dump(mode="json"), dataset.fingerprints), out)
    training_log.write(teacher.logs, log)


if __name__ == "__main__":
    main()
