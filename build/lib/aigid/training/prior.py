"""The loss of the class prior: what a classifier gets that ignores its input. One that has learned ends below it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

COLUMN = "prior_loss"  # of a training log, beside the loss that it is compared with, the first of these
LOSSES = ("train_cross_entropy", "train_loss", "loss")
TOLERANCE = 0.02  # of the prior's loss


def prior_loss(labels: ArrayLike) -> float:
    """Return the mean cross-entropy, in nats, of the best constant prediction of labels (N,): their entropy."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def has_learned(log: pd.DataFrame) -> bool:
    """Return whether the last training loss of a log is lower than that of the class prior by ``TOLERANCE`` of it."""
    last = log.iloc[-1]
    loss = next(float(last[name]) for name in LOSSES if name in log)
    return loss < (1 - TOLERANCE) * float(last[COLUMN])


def table(losses: Sequence[float], prior: float) -> pd.DataFrame:
    """Return the log of a training whose epochs have these losses."""
    epochs = range(1, len(losses) + 1)
    return pd.DataFrame({"epoch": epochs, "train_loss": losses, COLUMN: prior})


def warnings(folder: Path) -> list[str]:
    """Return a line for every training log (.csv) below a folder that ends where it could have without learning."""
    lines = []
    for path in sorted(folder.rglob("*.csv")):
        log = pd.read_csv(path)
        if len(log) and COLUMN in log and not has_learned(log):
            loss = next(log[name].iloc[-1] for name in LOSSES if name in log)
            lines.append(
                f"{path.relative_to(folder).with_suffix('').as_posix()}: has not learned: its final training loss of "
                f"{loss:.4f} is not {TOLERANCE:.0%} below that of the class prior, {log[COLUMN].iloc[-1]:.4f}"
            )
    return lines
