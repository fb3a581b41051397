"""What a training is: how long, of what, and how it is judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Position(NamedTuple):
    """Where a run stands."""

    epoch: int
    step: int  # of the epoch
    done: float  # share of all steps, from 0 to below 1


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass(frozen=True)
class Plan:
    """How long a run is; ``name`` and ``seed`` decide its randomness."""

    name: str
    seed: int
    num_items: int
    batch_size: int  # items to a pass, over all processes
    epochs: int
    accumulate: int = 1  # passes to a step
    mixed: bool = False  # float16 where there is CUDA
    max_norm: float | None = None  # to which the gradient of a step is clipped

    @property
    def step_size(self) -> int:
        """Items to a step."""
        return self.batch_size * self.accumulate

    @property
    def num_steps(self) -> int:
        """Of an epoch; the items that fill no step are left out."""
        return max(self.num_items // self.step_size, 1)


@dataclass(frozen=True)
class Learner:
    """What is trained, and how.

    ``lesson`` makes of the position and item numbers (n,) what ``loss`` takes, such as a batch of images: a thread does
    it for the next step while this one is computed, so it draws no number from torch. ``loss`` returns the terms whose
    sum is descended, each a mean over the items. ``judge`` is asked after each epoch for what goes into the log, and
    for a score: of several epochs the best counts, without a score the last. ``kept`` is what else a checkpoint has to
    hold, such as a moving average that ``after_step`` updates.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler  # goes on by one at each step
    loss: Callable[[Position, Any], Mapping[str, Tensor]]
    judge: Callable[[], tuple[Mapping[str, float], float | None]]
    after_step: Callable[[Position], None] = lambda position: None
    kept: Mapping[str, Stateful] = field(default_factory=dict)
    lesson: Callable[[Position, np.ndarray], Any] = lambda position, items: items
