"""Figures of what a trained GenDet has learned: outputs by t-SNE, discrepancies, rotations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from aigid.detectors.bundle import Bundle
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.model import GenDetModel, squared_cosine_distance
from aigid.detectors.gendet.readouts import batched
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.training import DISTANCES, LOSSES, build_student
from aigid.detectors.samples import Samples

MAX_POINTS = 150  # test images of each kind in the t-SNE
COLORS = {"real": "tab:red", "seen": "tab:orange", "unseen": "tab:green"}  # the kinds of the paper's Fig. 1
PANELS = {"loss": LOSSES, "squared chord, validation": DISTANCES, "AUROC of mean discrepancy": ["val_auroc"]}


def plot_all(model: Bundle, dataset: Samples, rotations: Path, seed: int) -> dict[str, Figure]:
    """Return the figures of a GenDet's bundle on the test images by name; ``rotations`` is its log, .csv."""
    assert isinstance(model.detector, GenDet)
    network, table, test = model.detector.network, dataset.table, dataset.split("test")
    with torch.no_grad():
        x = network.standardize(torch.from_numpy(test.x).to(next(network.parameters()).device))
    kind = image_kinds(np.asarray(test.generators), set(table["generator"][table["split"] == "train"]))
    indices = subsample(kind, MAX_POINTS, seed)
    result = {"tsne": tsne(network, x[indices], kind[indices], seed)}
    if network.student is not None:
        untrained = build_student(network.teacher, GenDetSettings.model_validate(model.settings), seed).to(x.device)
        students = {"before training": untrained, "after training": network.student}
        result |= {
            "discrepancies": histograms(network.teacher, students, x, kind),
            "rotations": curves(pd.read_csv(rotations)),
        }
    return result


def image_kinds(generators: NDArray[Any], seen: set[str]) -> NDArray[Any]:
    """Return ``real``, ``seen`` or ``unseen`` (N,) of names of generators."""
    return np.where(generators == "real", "real", np.where(np.isin(generators, sorted(seen)), "seen", "unseen"))


def subsample(kind: NDArray[Any], num: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of at most ``num`` rows of each kind, in order."""
    rng = np.random.default_rng(seed)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(kind == name))[:num] for name in COLORS]))


def tsne(network: GenDetModel, x: Tensor, kind: NDArray[Any], seed: int) -> Figure:
    """Plot the outputs of teacher and student and their discrepancy, of standardized features (N, dim)."""
    outputs: dict[str, Callable[[Tensor], Tensor]] = {"teacher": network.teacher}
    if network.student is not None:
        outputs |= {"student": network.student, "discrepancy": network.output_difference}
    figure = Figure(figsize=(4.2 * len(outputs), 4.4), layout="constrained")
    for axes, (name, output) in zip(np.ravel(figure.subplots(1, len(outputs))), outputs.items(), strict=True):
        with threadpool_limits(1):  # sums in another order would give another picture
            points = TSNE(random_state=seed, init="pca").fit_transform(batched(output, x).cpu().numpy())
        for part, color in COLORS.items():
            axes.scatter(*points[kind == part].T, s=6, color=color, label=part, alpha=0.6, linewidths=0)
        axes.set(title=name, xticks=[], yticks=[])
    axes.legend(frameon=False, markerscale=2)
    return figure


def histograms(teacher: nn.Module, students: Mapping[str, nn.Module], x: Tensor, kind: NDArray[Any]) -> Figure:
    """Plot the squared chord between teacher and student, before the first rotation and after the last."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (title, student) in zip(figure.subplots(1, 2, sharey=True), students.items(), strict=True):
        distances = squared_cosine_distance(batched(teacher, x), batched(student, x)).cpu().numpy()
        for part, color in COLORS.items():
            bins = np.linspace(0, 4, 81)
            axes.hist(distances[kind == part], bins=bins, density=True, histtype="step", color=color, label=part)
        _label(axes, title, xlabel="squared chord of teacher and student", xlim=(0, 4))
    axes.legend(frameon=False)
    return figure


def curves(log: pd.DataFrame) -> Figure:
    """Plot losses, distances and validation AUROC after each rotation."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        for column in columns:
            if log[column].notna().any():
                axes.plot(log["rotation"], log[column], marker="o", markersize=3, label=column.replace("_", " "))
        _label(axes, title, xlabel="rotation")
        if len(columns) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _label(axes: Axes, title: str, **labels: Any) -> None:
    axes.set(title=title, **labels)
    axes.spines[["top", "right"]].set_visible(False)
