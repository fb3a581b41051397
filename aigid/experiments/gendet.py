"""What a trained GenDet has learnt, to look at: its outputs by t-SNE, its discrepancies, its rotations."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from aigid.detectors.gendet.losses import squared_cosine_distance
from aigid.detectors.gendet.model import GenDetModel, Student
from aigid.detectors.gendet.training import batched

KINDS = {"real": "tab:red", "seen": "tab:orange", "unseen": "tab:green"}  # the colours of the paper's Fig. 1


def image_kinds(generators: np.ndarray, seen: set[str]) -> np.ndarray:
    """(N,) names of generators to ``real``, ``seen`` or ``unseen``."""
    return np.where(generators == "real", "real", np.where(np.isin(generators, sorted(seen)), "seen", "unseen"))


def subsample(kind: np.ndarray, num: int, seed: int) -> np.ndarray:
    """Places of at most ``num`` rows of each kind, in order."""
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(kind == name) for name in KINDS]
    return np.sort(np.concatenate([rng.permutation(places)[:num] for places in parts]))


def tsne(network: GenDetModel, x: Tensor, kind: np.ndarray, seed: int) -> Figure:
    """The outputs of teacher and student and their discrepancy, of scaled features (N, dim), in the plane."""
    outputs: dict[str, Callable[[Tensor], Tensor]] = {"teacher": network.teacher}
    if network.student is not None:
        outputs |= {"student": network.student, "discrepancy": network.discrepancy}
    figure = Figure(figsize=(4.2 * len(outputs), 4.4), layout="constrained")
    for axes, (name, output) in zip(np.ravel(figure.subplots(1, len(outputs))), outputs.items(), strict=True):
        with threadpool_limits(1):  # sums in another order would give another picture
            places = TSNE(random_state=seed, init="pca").fit_transform(batched(output, x).cpu().numpy())
        for part, colour in KINDS.items():
            axes.scatter(*places[kind == part].T, s=6, color=colour, label=part, alpha=0.6, linewidths=0)
        axes.set(title=name, xticks=[], yticks=[])
    axes.legend(frameon=False, markerscale=2)
    return figure


def histograms(network: GenDetModel, untrained: Student, x: Tensor, kind: np.ndarray) -> Figure:
    """The squared chord between teacher and student, before the first rotation and after the last."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    students = {"before training": untrained, "after training": network.student}
    for axes, (title, student) in zip(figure.subplots(1, 2, sharey=True), students.items(), strict=True):
        distances = batched(
            lambda rows, student=student: squared_cosine_distance(network.teacher(rows), student(rows)), x
        )
        for part, colour in KINDS.items():
            values = distances.cpu().numpy()[kind == part]
            axes.hist(values, bins=np.linspace(0, 4, 81), density=True, histtype="step", color=colour, label=part)
        axes.set(title=title, xlabel="squared chord of teacher and student", xlim=(0, 4))
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def curves(log: pd.DataFrame) -> Figure:
    """Losses, distances and validation AUROC after each rotation."""
    panels = {
        "loss": ["real_loss", "fake_loss", "augmenter_loss"],
        "squared chord, validation": ["distance_reals", "distance_fakes", "distance_augmented"],
        "AUROC of mean discrepancy": ["val_auroc"],
    }
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for column in columns:
            if log[column].notna().any():
                axes.plot(log["rotation"], log[column], marker="o", markersize=3, label=column.replace("_", " "))
        axes.set(title=title, xlabel="rotation")
        axes.spines[["top", "right"]].set_visible(False)
        if len(columns) > 1:
            axes.legend(frameon=False, fontsize=8)
    return figure


@torch.no_grad()
def scaled(network: GenDetModel, embeddings: np.ndarray) -> Tensor:
    """Embeddings (N, dim) float32 on the network's device, as its parts take them."""
    return network.scaled(torch.from_numpy(embeddings).to(network.mean.device))
