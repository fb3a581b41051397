"""What a training is: how long, of what, and how it is judged."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.training import distributed


class StepInfo(NamedTuple):
    """Where a run stands."""

    epoch: int
    step: int  # of the epoch
    done: float  # share of all steps, from 0 to below 1


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass(frozen=True)
class TrainConfig:
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
class TrainTask:
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
    loss: Callable[[StepInfo, Any], Mapping[str, Tensor]]
    judge: Callable[[], tuple[Mapping[str, float], float | None]]
    after_step: Callable[[StepInfo], None] = lambda position: None
    kept: Mapping[str, Stateful] = field(default_factory=dict)
    lesson: Callable[[StepInfo, np.ndarray], Any] = lambda position, items: items


# A training under way: its steps, its log, its checkpoint.


@dataclass
class Progress:
    """Where a run stands; with the states of its parts it is a checkpoint."""

    epoch: int = 0
    step: int = 0  # of the epoch, done
    sums: dict[str, float] = field(default_factory=dict)  # of the loss's terms, over the epoch's steps
    log: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best: dict[str, Tensor] | None = None  # the weights of the best epoch


class Trainer:
    """A plan under way, taken up from its checkpoint if there is one."""

    def __init__(self, plan: TrainConfig, learner: TrainTask, path: Path) -> None:
        self.plan, self.learner, self.path = plan, learner, path
        self.device = next(learner.net.parameters()).device
        self.mixed = plan.mixed and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        self.progress = Progress()
        self.frozen = {name for name, value in learner.net.named_parameters() if not value.requires_grad}
        if plan.batch_size % distributed.world_size():
            raise InputError(
                f"{plan.name}: batches of {plan.batch_size} cannot be shared by {distributed.world_size()} processes"
            )
        if distributed.world_size() > 1 and plan.num_items < plan.step_size:
            raise InputError(
                f"{plan.name}: {plan.num_items} items fill no step of {plan.step_size}, which processes could share"
            )
        self._resume()
        distributed.check_same_on_all_ranks((self.progress.epoch, self.progress.step), str(path), self.device)
        distributed.broadcast(learner.net)

    def steps(self) -> Iterator[tuple[StepInfo, list[Any]]]:
        """The steps of this epoch that are still to do, each with the lessons of its passes."""
        plan, now = self.plan, self.progress
        order = seeding.numpy_generator(f"{plan.name} order", plan.seed, now.epoch).permutation(plan.num_items)
        silent = True if distributed.rank() else None
        with ThreadPoolExecutor(1) as ahead:
            made = ahead.submit(self._lessons, now.step, order)
            for step in tqdm(range(now.step, plan.num_steps), f"epoch {now.epoch + 1}", unit="step", disable=silent):
                found = made.result()
                if step + 1 < plan.num_steps:
                    made = ahead.submit(self._lessons, step + 1, order)
                yield found

    def _lessons(self, step: int, order: np.ndarray) -> tuple[StepInfo, list[Any]]:
        plan, epoch = self.plan, self.progress.epoch
        here = StepInfo(epoch, step, (epoch + step / plan.num_steps) / plan.epochs)
        items = np.array_split(order[step * plan.step_size : (step + 1) * plan.step_size], plan.accumulate)
        mine = [np.array_split(part, distributed.world_size())[distributed.rank()] for part in items]
        return here, [self.learner.lesson(here, part) for part in mine]

    def step(self, here: StepInfo, passes: list[Any]) -> None:
        """One step of the optimizer."""
        plan, rank = self.plan, [distributed.rank()] if distributed.rank() else []
        torch.manual_seed(seeding.derive_seed(f"{plan.name} step", plan.seed, here.epoch, here.step, *rank))
        found = []
        for lesson in passes:
            with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
                terms = {name: term / plan.accumulate for name, term in self.learner.loss(here, lesson).items()}
                loss = torch.stack(list(terms.values())).sum()
            self.scaler.scale(loss).backward()
            found.append(torch.stack([term.detach().float() for term in terms.values()]))
        self._note(here, list(terms), torch.stack(found))
        self._descend(here)
        self.learner.after_step(here)

    def _note(self, here: StepInfo, names: list[str], passes: Tensor) -> None:
        """Add a step's terms (passes, terms) to the epoch's; InputError where one is no number."""
        distributed.all_reduce_mean([passes])
        sums, sums_so_far = passes.cpu().double().sum(dim=0), self.progress.sums
        for name, value in zip(names, sums.tolist(), strict=True):
            if not math.isfinite(value):
                self._stop(here, f"{name} is {value}")
            sums_so_far[name] = sums_so_far.get(name, 0.0) + value

    def _descend(self, here: StepInfo) -> None:
        learner = self.learner
        gradients = [value.grad for value in learner.net.parameters() if value.grad is not None]
        distributed.all_reduce_mean(gradients)
        self.scaler.unscale_(learner.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not self.mixed and not torch.isfinite(norm):  # the scaler leaves such a step out, and scales less
            self._stop(here, f"the gradient's norm is {float(norm)}")
        if self.plan.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(learner.net.parameters(), self.plan.max_norm, norm)
        self.scaler.step(learner.optimizer)
        self.scaler.update()
        learner.optimizer.zero_grad()
        learner.schedule.step()

    def _stop(self, here: StepInfo, why: str) -> None:
        good = f"the last good checkpoint is {self.path}" if self.path.is_file() else "there is no checkpoint yet"
        raise InputError(f"{self.plan.name}: {why} in epoch {here.epoch + 1}, step {here.step + 1}; {good}")

    def close_epoch(self) -> None:
        """Judge, log, and keep the weights if they are the best."""
        now, learner = self.progress, self.learner
        found, score = learner.judge()
        means = {name: total / self.plan.num_steps for name, total in now.sums.items()}
        row = {"epoch": now.epoch + 1, "learning_rate": learner.optimizer.param_groups[0]["lr"]}
        row["train_loss"] = math.fsum(means.values())
        if len(means) > 1:
            row |= {f"train_{name}": mean for name, mean in means.items()}
        now.log.append(row | {name: float(value) for name, value in found.items()})
        if distributed.rank() == 0:
            tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in now.log[-1].items()), file=sys.stderr)
        if score is not None and score > now.best_score:
            now.best_score = float(score)
            now.best = {name: value.clone() for name, value in self.weights().items()}
        now.epoch, now.step, now.sums = now.epoch + 1, 0, {}

    def weights(self) -> dict[str, Tensor]:
        """The net's state without its frozen parameters."""
        return {name: value for name, value in self.learner.net.state_dict().items() if name not in self.frozen}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """What ``weights`` gave."""
        missing, unknown = self.learner.net.load_state_dict(weights, strict=False)
        assert not unknown, unknown
        assert set(missing) <= self.frozen, missing

    def save(self) -> None:
        """Write the checkpoint, atomically."""
        if distributed.rank() == 0:
            state = {"progress": vars(self.progress), "net": self.weights()}
            with atomic_write(self.path) as part:
                torch.save(state | {name: it.state_dict() for name, it in self._parts().items()}, part)

    def _resume(self) -> None:
        if self.path.is_file():
            saved = torch.load(self.path, map_location=self.device, weights_only=True)
            self.progress = Progress(**saved["progress"])
            self.load_weights(saved["net"])
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])

    def _parts(self) -> dict[str, Stateful]:
        scaler = {"scaler": self.scaler} if self.mixed else {}
        return (
            {"optimizer": self.learner.optimizer, "schedule": self.learner.schedule} | scaler | dict(self.learner.kept)
        )
