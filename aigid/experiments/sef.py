"""The comparison that the paper argues from: is naive mixing worse than two experts, and does a gate fuse them best?

All see the same pairs; a row of the table is one method on held-out fakes of one domain, or on other generators' fakes.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, relu

from aigid.core import escape, seeding
from aigid.core.embeddings import OK
from aigid.detectors.gate import by_rows
from aigid.detectors.samples import Floats, LabeledEmbeddings, Samples, join
from aigid.detectors.sef.detector import DOMAINS, Sef, fit_head
from aigid.detectors.sef.model import Expert, p_generated
from aigid.detectors.sef.settings import EXPERTS
from aigid.features.encoder import normalize
from aigid.features.preprocess import resize_and_crop
from aigid.features.vit import first_tensor, vit_parts
from aigid.images.decode import decode
from aigid.metrics import intervals

COLUMNS = ["method", "tested_on", "auroc", "low", "high", "lowest_seed", "highest_seed", "num_seeds"]

ScoreFunction = Callable[[Floats], Floats]  # features of all experts (N, K x D) to P(generated) (N,)


@dataclass(frozen=True)
class TestSet:
    """Real and generated images (N,) that nothing was trained on; ``parts`` are the generators."""

    labels: NDArray[np.int64]
    parts: NDArray[Any]
    groups: NDArray[Any]


def build_test_set(domains: Sequence[Samples]) -> tuple[TestSet, Floats]:
    """Return the readable test images of a dataset, and the features of their clean view from all ``domains``."""
    table = domains[0].table
    readable = np.all([domain.status == OK for domain in domains], axis=0)
    indices = np.flatnonzero((table["split"] == "test").to_numpy() & readable)
    rows = table.iloc[indices]
    test_set = TestSet(rows["label"].to_numpy(), rows["generator"].to_numpy(str), intervals.group_names(rows))
    return test_set, np.concatenate([domain.embeddings("clean", indices) for domain in domains], axis=1)


def compare(
    detector: Sef, domains: Sequence[Samples], test_sets: Mapping[str, tuple[TestSet, Floats]], experts: Path, seed: int
) -> pd.DataFrame:
    """Return the `table` of all methods; ``domains`` trained the gate, ``experts`` is the folder of the experts."""
    train = join(domains, "train", detector.settings.fusion.views)
    paths = {"naive mix" if name == "both" else name: experts / f"{name}.safetensors" for name in EXPERTS}
    methods = expert_scorers(detector, train, paths, seed)
    scores = {method: {name: [score(x)] for name, (_, x) in test_sets.items()} for method, score in methods.items()}
    return table({name: rows for name, (rows, _) in test_sets.items()}, scores, seed)


def expert_scorers(
    gate: Sef, train: LabeledEmbeddings, experts: Mapping[str, Path], seed: int
) -> dict[str, ScoreFunction]:
    """Return the score functions of all methods by name.

    ``train``, which the gate was trained on, holds the features of both domains' experts; what is scored holds those of
    all ``experts``, in their order, the domains' first.
    """
    width, num = train.widths[0], sum(train.widths)

    def alone(name: str) -> ScoreFunction:
        start = list(experts).index(name) * width
        return lambda x: p_generated(experts[name], x[:, start : start + width])

    linear = fit_head(train, gate.settings.fusion, seed, "concatenation")
    return {
        **{f"expert {name}" if name in DOMAINS else name: alone(name) for name in experts},
        "mean of the experts' scores": lambda x: np.mean([alone(name)(x) for name in DOMAINS], axis=0),
        "concatenation": lambda x: by_rows(linear, x[:, :num], linear),
        "gate": lambda x: gate.p_generated(x[:, :num]),
    }


def evaluate(test_set: TestSet, scores: Sequence[Floats], seed: int) -> dict[str, float]:
    """Return AUROC, the mean over generators and over seeds, whose ``scores`` (N,) these are, with its 95 % interval.

    The interval is over images, the lowest and highest seed show the variance of training.
    """
    seed = seeding.derive_seed("sef comparison", seed)
    result, values = intervals.auroc_interval(test_set.labels, np.stack(scores), test_set.groups, seed, test_set.parts)
    spread = {"lowest_seed": min(values), "highest_seed": max(values), "num_seeds": len(values)}
    return {"auroc": result.value, "low": result.low, "high": result.high, **spread}


def table(
    test_sets: Mapping[str, TestSet], scores: Mapping[str, Mapping[str, Sequence[Floats]]], seed: int
) -> pd.DataFrame:
    """Return ``COLUMNS``, a row for each method and test set; ``scores`` by method and test set, an array a seed."""
    rows = [
        {"method": method, "tested_on": name, **evaluate(test_sets[name], values, seed)}
        for method, by_test_set in scores.items()
        for name, values in by_test_set.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def grad_cam(expert: Expert, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return how much each pixel speaks for "generated", (N, S, S) float32 in [0, 1] (Selvaraju et al., ICCV 2017).

    The activations are a convolutional network's last feature maps, or the patches' tokens before a transformer's last
    block, as what leaves it counts by its class token alone; the last is the last that the embedding is made of.
    """
    seen: list[Tensor] = []
    blocks, _, num_prefix, channels_last = vit_parts(expert.encoder)
    if num_prefix is None:
        hooks = [block.register_forward_hook(lambda _, inputs, output: seen.append(output)) for block in blocks]
    else:
        hooks = [block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for block in blocks]
    pixels = normalize(
        np.stack([resize_and_crop(image, expert.preprocess) for image in images]), expert.preprocess, expert.device
    )
    try:
        with torch.enable_grad():
            _, logits = expert(pixels.requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(logits.sum(), seen, allow_unused=True)
    last = next(pair for pair in list(zip(gradients, seen, strict=True))[::-1] if pair[0] is not None)
    maps = (first_tensor(part, channels_last) for part in last)
    gradient, tokens = (part.flatten(2).mT if num_prefix is None else part[:, num_prefix:] for part in maps)
    side = int(tokens.shape[1] ** 0.5)
    small = relu((gradient.mean(dim=1, keepdim=True) * tokens).sum(dim=2)).view(-1, 1, side, side)
    large = interpolate(small.detach(), size=pixels.shape[-2:], mode="bilinear")[:, 0]
    return (large / large.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).cpu().numpy()


def sample_images(detector: Sef, table: pd.DataFrame, root: Path) -> Figure:
    """Plot where both experts look at one real test image and one of each generator."""
    rows = table[table["split"] == "test"].drop_duplicates("generator").sort_values(["label", "generator"])
    images = [decode(root / path) for path in rows["path"]]
    return grad_cam_figure(images, rows["generator"].tolist(), dict(zip(DOMAINS, detector.experts(), strict=True)))


def grad_cam_figure(images: Sequence[np.ndarray], names: Sequence[str], experts: Mapping[str, Expert]) -> Figure:
    """Plot a column for each image, below it what each expert looks at."""
    figure = Figure(figsize=(1.3 * len(images) + 0.6, 1.35 * (1 + len(experts)) + 0.3), layout="constrained")
    axes = figure.subplots(1 + len(experts), len(images), squeeze=False)
    for column, (image, name) in enumerate(zip(images, names, strict=True)):
        axes[0, column].imshow(image)
        axes[0, column].set_title(textwrap.fill(escape.figure(name), 17), fontsize=8)
    for row, (domain, expert) in enumerate(experts.items(), start=1):
        for column, heatmap in enumerate(grad_cam(expert, images)):
            axes[row, column].imshow(images[column].mean(axis=2), cmap="gray")
            axes[row, column].imshow(heatmap, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        axes[row, 0].set_ylabel(f"expert {domain}", fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure


def gate_weights(detector: Sef, test_sets: Mapping[str, tuple[TestSet, Floats]]) -> Figure:
    """Plot the gate's weights for several test sets; an aligned fake is named by its domain."""
    width = sum(detector.head.widths)
    weights = np.concatenate([detector.gate(x[:, :width])[:, 0] for _, x in test_sets.values()])
    names = [
        np.where(rows.labels == 0, "real", np.char.add(f"{name}: ", rows.parts))
        for name, (rows, _) in test_sets.items()
    ]
    return gate_weight_figure(weights, np.concatenate(names), DOMAINS[0])


def gate_weight_figure(weights: np.ndarray, generators: np.ndarray, expert: str) -> Figure:
    """Plot the gate's weight of one expert (N,) for the images of each generator: mean, quartiles, 5 to 95 %."""
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
    axes.set_yticks(range(1, len(names) + 1), [*map(escape.figure, names)])
    axes.invert_yaxis()
    axes.set(xlabel=f"the gate's weight of expert {expert}; the rest is the other's")
    return figure
