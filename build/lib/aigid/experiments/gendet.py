"""Figures of what a trained GenDet has learned: outputs by t-SNE, discrepancies, rotations."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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

from aigid.core.embeddings import OK
from aigid.core.scores import CLEAN
from aigid.detectors.bundle import Bundle
from aigid.detectors.cnn.detector import Cnn
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.gendet.model import GenDetModel, squared_cosine_distance
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.training import DISTANCES, LOSSES, build_student
from aigid.detectors.samples import Samples
from aigid.evaluation.protocols import GENIMAGE_VIEWS
from aigid.training.tabular import batched

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


def plot_degradations(model: Bundle, cnn: Cnn, dataset: Samples, seed: int) -> Figure:
    """Plot, as the paper's Fig. 3, GenDet's discrepancies above a network's features of degraded test images, by t-SNE.

    Of each view that the embeddings have, degraded as in the paper's Table 4; ``dataset`` knows where its images lie.
    """
    network = model.detector.network if isinstance(model.detector, GenDet) else None
    assert network is not None
    assert network.student is not None
    table = dataset.table
    rows = np.flatnonzero((table["split"] == "test").to_numpy() & (dataset.status == OK))
    kind = np.where(table["label"].to_numpy()[rows] == 1, "unseen", "real")
    chosen = subsample(kind, MAX_POINTS, seed)
    rows, kind = rows[chosen], kind[chosen]
    views = [view for view in (CLEAN, *GENIMAGE_VIEWS) if view in dataset.views]
    figure = Figure(figsize=(2.6 * len(views), 5.6), layout="constrained")
    grid = figure.subplots(2, len(views), squeeze=False)
    for column, view in enumerate(views):
        with torch.no_grad():
            x = network.standardize(torch.from_numpy(dataset.embeddings(view, rows)).to(network.mean.device))
        features = {
            "GenDet": batched(network.output_difference, x).cpu().numpy(),
            "CNN": cnn.features(replace(dataset, table=table.iloc[rows]), view),
        }
        for axes, (name, values) in zip(grid[:, column], features.items(), strict=True):
            scatter(axes, values, kind, seed)
            axes.set(title=f"{name}, {view}")
    return figure


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
        scatter(axes, batched(output, x).cpu().numpy(), kind, seed)
        axes.set(title=name)
    axes.legend(frameon=False, markerscale=2)
    return figure


def scatter(axes: Axes, features: NDArray[np.floating[Any]], kind: NDArray[Any], seed: int) -> None:
    """Plot features (N, D) of each kind by t-SNE."""
    with threadpool_limits(1):  # sums in another order would give another picture
        points = TSNE(random_state=seed, init="pca", perplexity=min(30, len(features) / 4)).fit_transform(features)
    for part, color in COLORS.items():
        if (kind == part).any():
            x, y = points[kind == part].T
            axes.scatter(x, y, s=6, color=color, label=part, alpha=0.6, linewidths=0)
    axes.set(xticks=[], yticks=[])


def histograms(teacher: nn.Module, students: Mapping[str, nn.Module], x: Tensor, kind: NDArray[Any]) -> Figure:
    """Plot the squared chord between teacher and student, before the first rotation and after the last."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (title, student) in zip(figure.subplots(1, 2, sharey=True), students.items(), strict=True):
        distances = squared_cosine_distance(batched(teacher, x), batched(student, x)).cpu().numpy()
        for part, color in COLORS.items():
            bins, values = np.linspace(0, 4, 81), distances[kind == part]
            if len(values):
                axes.hist(values, bins=bins, density=True, histtype="step", color=color, label=part)
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
