"""Train the teacher of GenDet on a dataset's embeddings; any number of students can be held against it."""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors.bundle import Bundle, save
from aigid.detectors.gendet.settings import TeacherSettings
from aigid.detectors.samples import open_dataset


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, multiple=True, required=True, help="Several stand side by side.")
@click.option("--out", type=Path, required=True, help="The teacher's folder: a detector of its own.")
@click.option("--log", type=Path, required=True, help="Folder of teacher.csv, a line an epoch.")
def main(manifest_path: Path, embeddings: tuple[Path, ...], out: Path, log: Path) -> None:
    settings, seed = params.load_section("gendet.teacher", TeacherSettings), params.load_section("seed", int)
    dataset = open_dataset(manifest.read_to_learn(manifest_path), embeddings)
    from aigid.detectors.gendet.detector import GenDet  # torch, once the inputs are known to be good

    teacher = GenDet.fit_teacher(settings, dataset.split("train"), dataset.split("val"), seed)
    save(Bundle("gendet", teacher, settings.model_dump(mode="json"), dataset.fingerprints), out)
    tables.write_csv_logs(teacher.logs, log)


if __name__ == "__main__":
    main()
