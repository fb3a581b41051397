"""What each operator costs FeatDistill's ensemble, level by level: test AUROC against that of the undistorted images.

    python -m benchmarks.featdistill_levels --model data/models/featdistill --dataset demo --sample 200

Operators are those of NTIRE's training pipeline (all of 5 levels) and of FeatDistill's extra policy (levels 1, 8 and
15 of 15). Every cell has the same images, half of either class.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd
from rich.table import Table

from aigid.core import manifest, seeding
from aigid.core.files import choose_device, dataset_root, device_name
from aigid.degradations import operators, policies
from aigid.detectors.bundle import load
from aigid.detectors.featdistill.data import select_rows
from aigid.detectors.featdistill.detector import FeatDistill, mean_probability
from aigid.features.encoder import TorchBackbone
from aigid.features.preprocess import resize_and_crop
from aigid.images import decode as pictures
from aigid.metrics.classification import auroc, rank
from benchmarks import record

LEVELS = {"ntire_train": (1, 2, 3, 4, 5), "featdistill_extra": (1, 8, 15)}


class Judge:
    """The ensemble's AUROC on whole images."""

    def __init__(self, detector: FeatDistill, y: np.ndarray) -> None:
        device = choose_device(device_name())
        self.members = {
            name: (member, TorchBackbone(member.backbone(), device, 64)) for name, member in detector.members.items()
        }
        self.y = y

    def __call__(self, images: Sequence[np.ndarray]) -> float:
        probabilities = {}
        for name, (member, backbone) in self.members.items():
            squares = np.stack([resize_and_crop(image, backbone.settings.preprocess) for image in images])
            parts = np.array_split(squares, -(-len(squares) // 64))
            probabilities[name] = member.probabilities(np.concatenate([backbone.encode(part) for part in parts]))
        return auroc(rank(self.y, mean_probability(probabilities)))


def distorted(images: pd.DataFrame, pixels: list[np.ndarray], policy: str, operator: str, level: int) -> list:
    """Each image after one operator at a level, drawn by its content."""
    results = []
    for digest, image in zip(images["sha256"], pixels, strict=True):
        rng = seeding.numpy_generator("featdistill levels", operator, level, digest)
        results.append(operators.apply_operators([policies.at_level(policy, operator, level, rng)], image, rng))
    return results


@click.command(help=__doc__)
@click.option("--model", type=Path, default=Path("data/models/featdistill"), show_default=True)
@click.option("--dataset", default="demo", show_default=True, help="Its manifest lies in data/manifests.")
@click.option(
    "--sample", type=click.IntRange(2), default=200, show_default=True, help="Test images, half of either class."
)
@record.out_option
def main(model: Path, dataset: str, sample: int, out: Path) -> None:
    images = select_rows(manifest.read(Path("data/manifests") / f"{dataset}.csv"), "test", sample, 0)
    root = dataset_root(dataset)
    pixels = [pictures.decode(root / path) for path in images["path"]]
    judge = Judge(load(model).detector, images["label"].to_numpy())
    clean = judge(pixels)
    report = Table("policy", "operator", "AUROC at levels", "hardest / clean", title=f"undistorted: {clean:.3f}")
    for policy, levels in LEVELS.items():
        for operator in (name for group in policies.get_policy(policy).groups.values() for name in group):
            results = [judge(distorted(images, pixels, policy, operator, level)) for level in levels]
            cells = "  ".join(f"{level}: {value:.3f}" for level, value in zip(levels, results, strict=True))
            report.add_row(policy, operator, cells, f"{results[-1] / clean:.2f}")
    record.publish(report, "featdistill_levels", out, width=120)


if __name__ == "__main__":
    main()
