"""The comparison that the paper argues from: is naive mixing worse than two experts, and does a gate fuse them best?

All see the same pairs; a row of the table is one method on held-out fakes of one domain, or on other generators' fakes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aigid.base import seeding
from aigid.detectors.base.rows import EmbeddedDataset, Rows
from aigid.detectors.sef.detector import DOMAINS, Sef, fit_head
from aigid.detectors.sef.expert import verdict
from aigid.evaluation import intervals
from aigid.store import OK

COLUMNS = ["method", "tested_on", "auroc", "low", "high", "lowest_seed", "highest_seed", "num_seeds"]

Floats = np.ndarray
Verdict = Callable[[Floats], Floats]  # features of all experts (N, K x D) to P(generated) (N,)


@dataclass(frozen=True)
class Exam:
    """Reals and fakes (N,) that nothing learnt from; ``parts`` are the fakes' generators."""

    labels: Floats
    parts: Floats
    groups: Floats


def exam(sides: Sequence[EmbeddedDataset]) -> tuple[Exam, Floats]:
    """The readable test images of a dataset, and the features of their clean view, those of all ``sides`` together."""
    table = sides[0].manifest
    readable = np.all([side.status == OK for side in sides], axis=0)
    places = np.flatnonzero((table["split"] == "test").to_numpy() & readable)
    rows = table.iloc[places]
    found = Exam(rows["label"].to_numpy(), rows["generator"].to_numpy(str), intervals.group_names(rows))
    return found, np.concatenate([side.embeddings("clean", places) for side in sides], axis=1)


def verdicts(gate: Sef, train: Rows, experts: Mapping[str, Path], seed: int) -> dict[str, Verdict]:
    """Every method by name. ``train``, which the gate learnt from, holds the features of both domains' experts; those
    that a verdict is asked about hold the features of all ``experts``, in their order, the domains' first.
    """
    width, num = train.widths[0], sum(train.widths)

    def alone(name: str) -> Verdict:
        start = list(experts).index(name) * width
        return lambda x: verdict(experts[name], x[:, start : start + width])

    y, x = torch.from_numpy(train.y), torch.from_numpy(train.x)
    linear = fit_head(lambda rows: x[rows], y, len(DOMAINS), width, gate.settings.fusion, seed, "concatenation")

    def side_by_side(x: Floats) -> Floats:
        return linear(torch.from_numpy(x[:, :num])).numpy().astype(np.float64)

    return {
        **{f"expert {name}" if name in DOMAINS else name: alone(name) for name in experts},
        "mean of the experts' scores": lambda x: np.mean([alone(name)(x) for name in DOMAINS], axis=0),
        "concatenation": side_by_side,
        "gate": lambda x: gate.p_generated(x[:, :num]),
    }


def measure(exam: Exam, scores: Sequence[Floats], seed: int) -> dict[str, float]:
    """Return AUROC, the mean over generators and over seeds, whose ``scores`` (N,) these are, with its 95 % interval.

    The interval tells of the images that were drawn, the lowest and highest seed of the training's chance.
    """
    seed = seeding.seed_of("sef comparison", seed)
    found, values = intervals.auroc_interval(exam.labels, np.stack(scores), exam.groups, seed, exam.parts)
    spread = {"lowest_seed": min(values), "highest_seed": max(values), "num_seeds": len(values)}
    return {"auroc": found.value, "low": found.low, "high": found.high, **spread}


def table(exams: Mapping[str, Exam], scores: Mapping[str, Mapping[str, Sequence[Floats]]], seed: int) -> pd.DataFrame:
    """``COLUMNS``, one row for each method and exam; ``scores`` by method and exam, an array for each seed."""
    rows = [
        {"method": method, "tested_on": name, **measure(exams[name], found, seed)}
        for method, by_exam in scores.items()
        for name, found in by_exam.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
