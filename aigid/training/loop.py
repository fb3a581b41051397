"""One resumable training loop for every network that is trained on images."""

import math
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from aigid.core import seeding
from aigid.core.console import defer_interrupts
from aigid.core.errors import InputError
from aigid.training import checkpoints, distributed
from aigid.training.checkpoints import CheckpointWriter
from aigid.training.loading import Batch, RunLoader
from aigid.training.passes import Passes, Terms
from aigid.training.task import ComputeType, Stateful, StepInfo, TrainConfig, TrainTask


@dataclass
class Progress:
    """The state of a run; with the states of its parts it is a checkpoint."""

    epoch: int = 0
    step: int = 0  # steps of the epoch that are done
    sums: dict[str, float] = field(default_factory=dict)  # of the loss's terms, over the epoch's steps
    log: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best: dict[str, Tensor] | None = None  # the weights of the best epoch, on the CPU


def train(config: TrainConfig, task: TrainTask, path: Path) -> list[dict[str, float]]:
    """Train to the end, from the checkpoint at ``path`` if there is one; return the log, a row an epoch.

    On a CPU an interrupted run ends with the same weights: the randomness of a step depends only on name, seed, epoch
    and step, and that of a network's random layers on the process, too. Within `distributed.process_group` every
    process takes its share of each step. A row has ``epoch``, ``learning_rate``, ``train_loss``, a ``train_<term>`` for
    each of several terms, and validation's values. The checkpoint stays: unlink ``path`` when the result is saved.
    InputError where loss or gradient is not finite, and for a checkpoint from other ``config.definitions``.
    """
    with defer_interrupts() as signals, closing(Trainer(config, task, path, signals)) as trainer:
        interrupt = KeyboardInterrupt(f"{config.name}: stopped and saved; the same command goes on from here")
        while trainer.progress.epoch < config.epochs:
            for step_info, batch in trainer.steps():
                stop = trainer.step(step_info, batch)
                trainer.save(stop)
                if stop:
                    raise interrupt
            trainer.end_epoch()
            trainer.save(trainer.progress.epoch == config.epochs)
        if signals:
            raise interrupt
        if trainer.progress.best is not None:
            trainer.load_weights(trainer.progress.best)
    return trainer.progress.log


class Trainer:
    """A run, continued from its checkpoint if there is one; its parts are equal in all processes.

    ``signals`` gets what asks the run to stop.
    """

    def __init__(self, config: TrainConfig, task: TrainTask, path: Path, signals: list[int] | None = None) -> None:
        self.config, self.task, self.path, self.signals = config, task, path, [] if signals is None else signals
        self.device, self.progress = next(task.net.parameters()).device, Progress()
        self.compute = ComputeType(config.precision, self.device)
        self.passes = Passes(config, task, self.compute)
        self.frozen = {name for name, value in task.net.named_parameters() if not value.requires_grad}
        self._parts: dict[str, Stateful] = {"optimizer": task.optimizer, "schedule": task.schedule, **task.extra_state}
        if self.compute.scaler.is_enabled():
            self._parts["scaler"] = self.compute.scaler
        if saved := checkpoints.load_or_quarantine(path):
            self._load(saved)
        distributed.check_same_on_all_ranks((self.progress.epoch, self.progress.step), str(path), self.device)
        distributed.broadcast(task.net)
        self._writer = CheckpointWriter(path)
        if distributed.rank() == 0:
            self._writer.require_writable()
        self._loader = self._open_loader()

    def _load(self, saved: dict[str, Any]) -> None:
        checkpoints.refuse_other_definitions(self.path, saved["definitions"], self.config.definitions)
        self.progress = Progress(**saved["progress"])
        self.load_weights(saved["net"])
        for key, part in self._parts.items():
            if key in saved:  # all but the scale, where the run was not in float16 before
                part.load_state_dict(saved[key])

    def _open_loader(self) -> RunLoader:
        share = self.passes.share(self.config.step_size)
        return RunLoader(self.config, self.task, share, (self.progress.epoch, self.progress.step))

    def close(self) -> None:
        """End the processes that read, and wait for a checkpoint that is being written."""
        self._loader.close()
        self._writer.close()

    def steps(self) -> Iterator[tuple[StepInfo, Batch]]:
        """Yield the steps of this epoch that are still to do, each with this process's share of its items."""
        config, epoch = self.config, self.progress.epoch
        steps = range(self.progress.step, config.num_steps)
        bar = tqdm(steps, f"epoch {epoch + 1}", unit="step", disable=distributed.rank() > 0 or None)
        for step in bar:
            yield StepInfo(epoch, step, (epoch + step / config.num_steps) / config.epochs), self._loader.batch()

    def step(self, step_info: StepInfo, batch: Batch) -> bool:
        """Do one step of the optimizer; return whether any process was asked to stop.

        Under float16 a step whose loss or gradient is not finite is done again with the loss at half the scale: until
        then nothing moves, neither weights nor schedule nor moving averages. InputError where that does not help.
        """
        task, scaled = self.task, self.compute.scaler.is_enabled()
        buffers = [value.clone() for value in task.net.buffers()] if scaled else []
        while True:
            with self.compute.float32_products():
                terms = self.passes.backward(step_info, batch, self.config.step_size, lambda: self._seed(step_info))
            values, stop = self._reduce(terms)
            gradients = [value.grad for value in task.net.parameters() if value.grad is not None]
            distributed.all_reduce_sum(gradients)
            if scaled:
                self.compute.scaler.unscale_(task.optimizer)
            norm = torch.nn.utils.get_total_norm(gradients)
            problem = next((f"{name} is {mean}" for name, mean in values.items() if not math.isfinite(mean)), "")
            problem = problem or ("" if torch.isfinite(norm) else f"the gradient's norm is {float(norm)}")
            if not problem:
                break
            if not self.compute.lower_scale():
                self._raise_non_finite(step_info, problem)
            for value, before in zip(task.net.buffers(), buffers, strict=True):
                value.copy_(before)
        self._update(step_info, norm)
        for name, mean in values.items():
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + mean
        return stop

    def _seed(self, step_info: StepInfo) -> None:
        process = [distributed.rank()] if distributed.rank() else []
        torch.manual_seed(seeding.derive_seed(f"{self.config.name} step", self.config.seed, *step_info[:2], *process))

    def _reduce(self, terms: Terms) -> tuple[dict[str, float], bool]:
        """Return the terms of all processes' passes, and whether any process was asked to stop."""
        numbers = torch.stack([term.to(torch.promote_types(term.dtype, torch.float32)) for term in terms.values()])
        numbers = torch.cat([numbers, numbers.new_tensor([float(bool(self.signals))])])
        distributed.all_reduce_sum([numbers])
        *values, signals = numbers.cpu().double().tolist()
        return dict(zip(terms, values, strict=True)), bool(signals)

    def _update(self, step_info: StepInfo, norm: Tensor) -> None:
        """Move the weights, and all that goes on with them."""
        task, scaler = self.task, self.compute.scaler
        if self.config.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(task.net.parameters(), self.config.max_norm, norm)
        scaler.step(task.optimizer)
        scaler.update()
        task.optimizer.zero_grad()
        task.schedule.step()
        task.after_step(step_info)
        self.progress.step = step_info.step + 1

    def _raise_non_finite(self, step_info: StepInfo, problem: str) -> NoReturn:
        good = f"the last good checkpoint is {self.path}" if self.path.is_file() else "there is no checkpoint yet"
        epoch, step, _ = step_info
        raise InputError(f"{self.config.name}: {problem} in epoch {epoch + 1}, step {step + 1}; {good}")

    def validate(self) -> tuple[dict[str, float], float | None]:
        """Return validation's values, and the score of this epoch if it has one."""
        if (validation := self.task.validation) is None:
            return {}, None
        rows = []
        with torch.inference_mode(), self.compute.autocast(), self.compute.float32_products():
            for block in self._loader.validation_blocks():
                rows.append(validation.predict(block).cpu())  # noqa: PERF401
        arrays = [part.numpy() for parts in distributed.gather_objects(rows) for part in parts]
        metrics, score = validation.metrics(np.concatenate(arrays) if arrays else np.zeros(0))
        return {name: float(value) for name, value in metrics.items()}, score

    def end_epoch(self) -> None:
        """Validate, log, and remember the weights if they are the best."""
        state = self.progress
        metrics, score = self.validate()
        means = {name: total / self.config.num_steps for name, total in state.sums.items()}
        rate, loss = self.task.optimizer.param_groups[0]["lr"], math.fsum(means.values())
        row = {"epoch": state.epoch + 1, "learning_rate": rate, "train_loss": loss}
        if len(means) > 1:
            row |= {f"train_{name}": mean for name, mean in means.items()}
        state.log.append(row | metrics)
        if distributed.rank() == 0:
            tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in state.log[-1].items()), file=sys.stderr)
        if score is not None and score > state.best_score:
            state.best_score, state.best = float(score), checkpoints.snapshot(self.weights())
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}

    def weights(self) -> dict[str, Tensor]:
        """Return the net's state without its frozen parameters."""
        return {name: value for name, value in self.task.net.state_dict().items() if name not in self.frozen}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        missing, unknown = self.task.net.load_state_dict(weights, strict=False)
        assert not unknown, unknown
        assert set(missing) <= self.frozen, missing

    def save(self, now: bool = False) -> None:
        """Have process 0 write a checkpoint if one is due; ``now``, whether due or not, before going on."""
        if distributed.rank() == 0 and (now or self._writer.due()):
            state = {"progress": vars(self.progress), "net": self.weights(), "definitions": self.config.definitions}
            parts = {name: part.state_dict() for name, part in self._parts.items()}
            self._writer.save(state | parts, wait=now)
