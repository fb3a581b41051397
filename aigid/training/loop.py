"""One resumable training loop for every network that is trained on images."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from aigid.core import seeding
from aigid.core.console import defer_interrupts
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, cache_folder
from aigid.training import distributed

CHECKPOINT_SECONDS, FORMAT = 30.0, 2  # between checkpoints, and of a checkpoint


class StepInfo(NamedTuple):
    """The position of a step in a run."""

    epoch: int
    step: int  # of the epoch
    progress: float  # share of all steps, from 0 to below 1


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass(frozen=True)
class TrainConfig:
    """The length of a run; ``name`` and ``seed`` decide its randomness."""

    name: str
    seed: int
    num_items: int
    batch_size: int  # items to a pass, over all processes
    epochs: int
    accumulate: int = 1  # passes to a step
    mixed_precision: bool = False  # float16 where there is CUDA
    max_norm: float | None = None  # to which the gradient of a step is clipped

    @property
    def step_size(self) -> int:
        return self.batch_size * self.accumulate

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; the items that fill no step are left out."""
        return max(self.num_items // self.step_size, 1)


@dataclass(frozen=True)
class TrainTask:
    """What is trained, and its loss.

    ``make_batch`` turns item numbers (n,) into what ``loss`` takes: a thread does it for the next step during this one,
    so it must not use torch's global generator. ``loss`` returns terms, each a mean over the items; their sum is
    minimized. ``validate`` returns, after each epoch, values for the log and a score: the weights of the epoch with the
    highest score are restored at the end, without scores those of the last. ``extra_state`` is what else a checkpoint
    holds, such as a moving average that ``after_step`` updates.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler  # goes on by one at each step
    loss: Callable[[StepInfo, Any], Mapping[str, Tensor]]
    validate: Callable[[], tuple[Mapping[str, float], float | None]]
    after_step: Callable[[StepInfo], None] = lambda step_info: None
    extra_state: Mapping[str, Stateful] = field(default_factory=dict)
    make_batch: Callable[[StepInfo, NDArray[np.int64]], Any] = lambda step_info, items: items


@dataclass
class Progress:
    """The state of a run; with the states of its parts it is a checkpoint."""

    epoch: int = 0
    step: int = 0  # steps of the epoch that are done
    sums: dict[str, float] = field(default_factory=dict)  # of the loss's terms, over the epoch's steps
    log: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best: dict[str, Tensor] | None = None  # the weights of the best epoch


def checkpoint_path(metadata: object) -> Path:
    """Return the checkpoint of a run, in the cache; ``metadata`` holds all that decides the run."""
    name = hashlib.sha256(json.dumps([FORMAT, torch.__version__, metadata]).encode()).hexdigest()[:32]
    return cache_folder() / "training" / f"{name}.pt"


def train(config: TrainConfig, task: TrainTask, path: Path) -> list[dict[str, float]]:
    """Train to the end, from the checkpoint at ``path`` if there is one; return the log, a row an epoch.

    On a CPU an interrupted run ends with the same weights: the randomness of a step depends only on name, seed, epoch
    and step. Within `distributed.process_group` every process takes its share of each batch. A row has ``epoch``,
    ``learning_rate``, ``train_loss``, a ``train_<term>`` for each of several terms, and what ``validate`` returns. The
    checkpoint stays: unlink ``path`` when the result is saved. InputError where loss or gradient is not finite.
    """
    trainer = Trainer(config, task, path)
    with defer_interrupts() as interrupts:
        while trainer.progress.epoch < config.epochs:
            for step_info, batches in trainer.steps():
                trainer.step(step_info, batches)
                trainer.progress.step = step_info.step + 1
                if interrupts or time.monotonic() - trainer.saved >= CHECKPOINT_SECONDS:
                    trainer.save()
                if interrupts:
                    raise KeyboardInterrupt(f"{config.name}: stopped and saved; the same command goes on from here")
            trainer.end_epoch()
            trainer.save()
    if trainer.progress.best is not None:
        trainer.load_weights(trainer.progress.best)
    return trainer.progress.log


class Trainer:
    """A run, continued from its checkpoint if there is one; its parts are equal in all processes."""

    def __init__(self, config: TrainConfig, task: TrainTask, path: Path) -> None:
        self.config, self.task, self.path = config, task, path
        self.device = next(task.net.parameters()).device
        self.mixed = config.mixed_precision and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        self.progress, self.saved = Progress(), time.monotonic()
        self.frozen = {name for name, value in task.net.named_parameters() if not value.requires_grad}
        self._parts: dict[str, Stateful] = {"optimizer": task.optimizer, "schedule": task.schedule, **task.extra_state}
        if self.mixed:
            self._parts["scaler"] = self.scaler
        name, num = config.name, distributed.world_size()
        if config.batch_size % num:
            raise InputError(f"{name}: batches of {config.batch_size} cannot be shared by {num} processes")
        if num > 1 and (items := config.num_items) < (size := config.step_size):
            raise InputError(f"{name}: {items} items fill no step of {size}, which processes could share")
        if path.is_file():
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.progress = Progress(**saved["progress"])
            self.load_weights(saved["net"])
            for key, part in self._parts.items():
                part.load_state_dict(saved[key])
        distributed.check_same_on_all_ranks((self.progress.epoch, self.progress.step), str(path), self.device)
        distributed.broadcast(task.net)

    def steps(self) -> Iterator[tuple[StepInfo, list[Any]]]:
        """Yield the steps of this epoch that are still to do, each with the batches of its passes."""
        config, first = self.config, self.progress.step
        rng = seeding.numpy_generator(f"{config.name} order", config.seed, self.progress.epoch)
        order, name = rng.permutation(config.num_items), f"epoch {self.progress.epoch + 1}"
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(self._make_batches, first, order)
            bar = tqdm(range(first, config.num_steps), name, unit="step", disable=distributed.rank() > 0 or None)
            for step in bar:
                current = following.result()
                if step + 1 < config.num_steps:
                    following = pool.submit(self._make_batches, step + 1, order)
                yield current

    def _make_batches(self, step: int, order: NDArray[np.int64]) -> tuple[StepInfo, list[Any]]:
        config, epoch = self.config, self.progress.epoch
        step_info = StepInfo(epoch, step, (epoch + step / config.num_steps) / config.epochs)
        items = np.array_split(order[step * config.step_size : (step + 1) * config.step_size], config.accumulate)
        shares = [np.array_split(part, distributed.world_size())[distributed.rank()] for part in items]
        return step_info, [self.task.make_batch(step_info, share) for share in shares]

    def step(self, step_info: StepInfo, batches: list[Any]) -> None:
        """Do one step of the optimizer; InputError where a term of the loss or the gradient is not finite."""
        config, rank = self.config, [distributed.rank()] if distributed.rank() else []
        torch.manual_seed(seeding.derive_seed(f"{config.name} step", config.seed, *step_info[:2], *rank))
        values = []  # (terms,) of each pass
        for batch in batches:
            with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
                terms = {name: term / config.accumulate for name, term in self.task.loss(step_info, batch).items()}
                loss = torch.stack(list(terms.values())).sum()
            self.scaler.scale(loss).backward()
            values.append(torch.stack([term.detach().float() for term in terms.values()]))
        passes = torch.stack(values)
        distributed.all_reduce_mean([passes])
        for name, value in zip(terms, passes.cpu().double().sum(dim=0).tolist(), strict=True):
            if not math.isfinite(value):
                self._raise_non_finite(step_info, f"{name} is {value}")
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
        self._optimizer_step(step_info)
        self.task.after_step(step_info)

    def _optimizer_step(self, step_info: StepInfo) -> None:
        task, parameters = self.task, list(self.task.net.parameters())
        gradients = [value.grad for value in parameters if value.grad is not None]
        distributed.all_reduce_mean(gradients)
        self.scaler.unscale_(task.optimizer)
        norm = torch.nn.utils.get_total_norm(gradients)
        if not self.mixed and not torch.isfinite(norm):  # the scaler leaves such a step out, and scales less
            self._raise_non_finite(step_info, f"the gradient's norm is {float(norm)}")
        if self.config.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.max_norm, norm)
        self.scaler.step(task.optimizer)
        self.scaler.update()
        task.optimizer.zero_grad()
        task.schedule.step()

    def _raise_non_finite(self, step_info: StepInfo, problem: str) -> NoReturn:
        good = f"the last good checkpoint is {self.path}" if self.path.is_file() else "there is no checkpoint yet"
        epoch, step, _ = step_info
        raise InputError(f"{self.config.name}: {problem} in epoch {epoch + 1}, step {step + 1}; {good}")

    def end_epoch(self) -> None:
        """Validate, log, and remember the weights if they are the best."""
        state, task = self.progress, self.task
        metrics, score = task.validate()
        means = {name: total / self.config.num_steps for name, total in state.sums.items()}
        rate, loss = task.optimizer.param_groups[0]["lr"], math.fsum(means.values())
        row = {"epoch": state.epoch + 1, "learning_rate": rate, "train_loss": loss}
        if len(means) > 1:
            row |= {f"train_{name}": mean for name, mean in means.items()}
        state.log.append(row | {name: float(value) for name, value in metrics.items()})
        if distributed.rank() == 0:
            tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in state.log[-1].items()), file=sys.stderr)
        if score is not None and score > state.best_score:
            best = {name: value.clone() for name, value in self.weights().items()}
            state.best_score, state.best = float(score), best
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}

    def weights(self) -> dict[str, Tensor]:
        """Return the net's state without its frozen parameters."""
        return {name: value for name, value in self.task.net.state_dict().items() if name not in self.frozen}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        missing, unknown = self.task.net.load_state_dict(weights, strict=False)
        assert not unknown, unknown
        assert set(missing) <= self.frozen, missing

    def save(self) -> None:
        self.saved = time.monotonic()
        if distributed.rank() == 0:
            state = {"progress": vars(self.progress), "net": self.weights()}
            with atomic_write(self.path) as file:
                torch.save(state | {name: part.state_dict() for name, part in self._parts.items()}, file)
