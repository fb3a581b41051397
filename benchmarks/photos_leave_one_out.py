"""A kernel SVM that never saw one generator, or one source of photographs, judged on it: each of them in turn.

python -m benchmarks.photos_leave_one_out --model data/models/svm --manifest data/manifests/photos.csv \
    --embeddings data/embeddings/clip_blocks/photos.h5

AUROC of all images of the generator against the photographs of test, or of all photographs of the source against the
fakes of test. Nothing is chosen here: C, gamma and the principal axes, which no label made, are those of the model.
What test alone has is judged by a model of all of train. Means are of those with at least ``--min-images`` images.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.table import Table

from aigid.core import manifest
from aigid.detectors import bundle
from aigid.detectors.samples import open_dataset
from aigid.detectors.stacking import domains
from aigid.detectors.svm.detector import KernelSvm, SvmSettings
from aigid.detectors.svm.kernel import support_vectors, transform
from benchmarks import record
from benchmarks.photos import auroc


@click.command(help=__doc__)
@click.option("--model", type=Path, required=True, help="Folder of an svm with target: label.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True, help="The model's backbone on that manifest.")
@click.option("--min-images", default=10, show_default=True, help="For a generator or source to enter the means.")
@record.out_option
def main(model: Path, manifest_path: Path, embeddings: Path, min_images: int, out: Path) -> None:
    samples, loaded = open_dataset(manifest.read(manifest_path), [embeddings]), bundle.load(model)
    if not isinstance(detector := loaded.detector, KernelSvm):
        raise click.UsageError(f"{model}: want an svm, is {loaded.name}")
    settings = SvmSettings(**loaded.settings)
    if settings.solver == "nystroem" or settings.features != "all":
        raise click.UsageError(f"{model}: is of {settings.solver}, features {settings.features}: want libsvm, all")
    parts = [samples.split(name, views) for name, views in
             (("train", settings.views), *((name, ("clean",)) for name in ("train", "val", "test")))]  # fmt: skip
    train, clean = parts[0], parts[1:]
    x, keys = transform(train.x, detector.arrays), domains(train)
    every = np.concatenate([transform(part.x, detector.arrays) for part in clean])
    table = samples.table.set_index("path").loc[np.concatenate([part.paths for part in clean])].reset_index()
    of, test = np.concatenate([domains(part) for part in clean]), (table["split"] == "test").to_numpy()
    rows = []
    for domain in np.unique(of):
        seen, left_out = keys != domain, of == domain
        chosen = left_out | (test & (table["label"] != table["label"][left_out].iloc[0]))
        machine = support_vectors(x[seen], train.y[seen], detector.state["strength"], detector.machine.gamma)
        scored = table[chosen].assign(score=-machine.decision_function(every[chosen])[:, 0])
        kind, _, name = domain.partition(" ")
        rows.append((kind, name, int(left_out.sum()), int((~seen).sum()) // len(settings.views), auroc(scored)))
    publish(pd.DataFrame(rows, columns=["kind", "name", "images", "in train", "AUROC"]), min_images, out)


def publish(rows: pd.DataFrame, min_images: int, out: Path) -> None:
    """Print and write the rows, the lowest AUROC first, below the means of generators and of sources."""
    table = Table("left out", "name", "images", "in train", "AUROC", title="AUROC with 95 % intervals over groups")
    for kind, group in rows.groupby("kind"):
        enough = group[group["images"] >= min_images]
        mean = np.mean([value.value for value in enough["AUROC"]])
        table.add_row(kind, f"mean of {len(enough)}", str(enough["images"].sum()), str(enough["in train"].sum()),
                      f"{mean:.3f}")  # fmt: skip
    for row in sorted(rows.itertuples(index=False), key=lambda row: row[-1].value):
        table.add_row(*map(str, row))
    record.publish(table, "photos_leave_one_out", out)


if __name__ == "__main__":
    main()
