"""Looking inside: where each expert looks, and which expert the gate trusts with which generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from aigid.data.reading.images import decode
from aigid.detectors.sef.comparison import Exam
from aigid.detectors.sef.detector import DOMAINS, Sef
from aigid.detectors.sef.expert import Expert
from aigid.features.encoder import normalised
from aigid.features.preprocess import to_square


def grad_cam(expert: Expert, images: Sequence[np.ndarray]) -> np.ndarray:
    """How much each place speaks for "generated", (N, S, S) float32 in [0, 1] (Selvaraju et al., ICCV 2017).

    The activations are the patches' tokens before the last block, as what leaves it counts by its class token alone.
    """
    seen: list[Tensor] = []
    watch = _last_block(expert.tower).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = normalised(np.stack([to_square(image, expert.how) for image in images]), expert.how, expert.device)
    try:
        with torch.enable_grad():
            _, logits = expert(pixels.requires_grad_())
    finally:
        watch.remove()
    (tokens,) = seen
    (gradient,) = torch.autograd.grad(logits.sum(), tokens)
    side = int(tokens.shape[1] ** 0.5)  # other tokens come first
    weights = gradient[:, -(side**2) :].mean(dim=1, keepdim=True)
    maps = relu((weights * tokens[:, -(side**2) :]).sum(dim=2)).view(-1, 1, side, side)
    maps = interpolate(maps.detach(), size=pixels.shape[-2:], mode="bilinear")[:, 0]
    return (maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def shown(detector: Sef, table: pd.DataFrame, root: Path) -> Figure:
    """Where both experts look at one photograph of the test split, and at what each generator makes of its kind."""
    rows = table[table["split"] == "test"].drop_duplicates("generator").sort_values(["label", "generator"])
    images = [decode(root / path) for path in rows["path"]]
    return maps(images, rows["generator"].tolist(), dict(zip(DOMAINS, detector.experts(), strict=True)))


def maps(images: Sequence[np.ndarray], names: Sequence[str], experts: Mapping[str, Expert]) -> Figure:
    """A column for each image, below it what each expert looks at."""
    figure = Figure(figsize=(1.3 * len(images) + 0.6, 1.35 * (1 + len(experts)) + 0.3), layout="constrained")
    axes = figure.subplots(1 + len(experts), len(images), squeeze=False)
    for column, (image, name) in enumerate(zip(images, names, strict=True)):
        axes[0, column].imshow(image)
        axes[0, column].set_title(name, fontsize=8)
    for row, (domain, expert) in enumerate(experts.items(), start=1):
        for column, found in enumerate(grad_cam(expert, images)):
            axes[row, column].imshow(images[column].mean(axis=2), cmap="gray")
            axes[row, column].imshow(found, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        axes[row, 0].set_ylabel(f"expert {domain}", fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure


def trust_of(detector: Sef, exams: Mapping[str, tuple[Exam, np.ndarray]]) -> Figure:
    """``trust`` of the experts' features of several exams; an aligned fake is named by its domain."""
    width = len(DOMAINS) * detector.head.width
    weights = np.concatenate([detector.gate(x[:, :width])[:, 0] for _, x in exams.values()])
    names = [
        np.where(exam.labels == 0, "real", np.char.add(f"{name}: ", exam.parts)) for name, (exam, _) in exams.items()
    ]
    return trust(weights, np.concatenate(names), DOMAINS[0])


def trust(weights: np.ndarray, generators: np.ndarray, expert: str) -> Figure:
    """The gate's weight of one expert (N,) for the images of each generator: mean, median, quartiles, 5 to 95 %."""
    names = sorted(set(generators), key=lambda name: (name != "real", name))
    figure = Figure(figsize=(6.4, 0.45 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.5, color="0.7", linestyle="--", linewidth=1)
    axes.boxplot(
        [weights[generators == name] for name in names],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        showmeans=True,
    )
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.invert_yaxis()
    axes.set(xlabel=f"the gate's weight of expert {expert}; the rest is the other's")
    return figure


def _last_block(tower: nn.Module) -> nn.Module:
    stacks = [module for module in tower.modules() if isinstance(module, nn.ModuleList | nn.Sequential) and len(module)]
    return max(stacks, key=lambda stack: sum(value.numel() for value in stack.parameters()))[-1]
