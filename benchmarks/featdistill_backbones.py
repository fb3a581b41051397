"""The light detectors on FeatDistill's features, before and after its training: test AUROC, clean and in other views.

    python -m benchmarks.featdistill_backbones --model data/models/featdistill --dataset demo6

Detectors and views are those of params.yaml. The reference are the same encoders with the weights that training began
with; embeddings of both come from the row cache, or go into it.
"""

import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.table import Table

from aigid.core import manifest, params
from aigid.core.files import dataset_root
from aigid.detectors import get_detector
from aigid.detectors.bundle import Bundle, load, score
from aigid.detectors.featdistill.detector import FeatDistill
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import ConcatSettings
from aigid.features.extract import extract
from aigid.metrics.classification import auroc, rank
from benchmarks import record

DETECTORS = ("probe", "svm", "gendet", "gate")


def backbones(detector: FeatDistill) -> dict[str, ConcatSettings]:
    """All experts' encoders side by side, as they began and as they are."""
    before = [member.settings.backbone for member in detector.members.values()]
    after = [member.backbone() for member in detector.members.values()]
    parts = {"before": list({encoder.model_dump_json(): encoder for encoder in before}.values()), "after": after}
    return {name: ConcatSettings(library="joint", parts=of) for name, of in parts.items()}


def marks(scores: pd.DataFrame) -> dict[str, float]:
    """Test AUROC of the clean view, and of all others together."""
    test = scores[(scores["split"] == "test") & scores["score"].notna()]
    clean = (test["view"] == "clean").to_numpy()
    return {
        name: auroc(rank(test["label"].to_numpy()[part], test["score"].to_numpy()[part]))
        for name, part in (("clean", clean), ("robust", ~clean))
    }


@click.command(help=__doc__)
@click.option("--model", type=Path, default=Path("data/models/featdistill"), show_default=True)
@click.option("--dataset", default="demo6", show_default=True, help="Its manifest lies in data/manifests.")
@record.out_option
def main(model: Path, dataset: str, out: Path) -> None:
    table, root = manifest.read(Path("data/manifests") / f"{dataset}.csv"), dataset_root(dataset)
    views, seed = params.load_section("views", list[str]), params.load_section("seed", int)
    report = Table(
        "detector", "before: clean", "robust", "after: clean", "robust", "after / before", title="test AUROC"
    )
    results: dict[str, list[float]] = {name: [] for name in DETECTORS}
    for backbone in backbones(load(model).detector).values():
        with tempfile.TemporaryDirectory() as scratch:
            extract(table, root, backbone, views, seed).write(Path(scratch) / "embeddings.h5")
            dataset = open_dataset(table, [Path(scratch) / "embeddings.h5"])
            for name in DETECTORS:
                kind = get_detector(name)
                settings = params.load_section(name, kind.Settings)
                fitted = kind.fit(settings, dataset.split("train"), dataset.split("val"), seed)
                results[name] += marks(score(Bundle(name, fitted, {}, dataset.fingerprints), dataset)).values()
    for name, values in results.items():
        report.add_row(name, *(f"{value:.3f}" for value in values), f"{np.divide(values[2], values[0]):.2f}")
    record.publish(report, "featdistill_backbones", out, width=120)


if __name__ == "__main__":
    main()
