"""A training under way: its steps, its log, its checkpoint."""

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.base.files import atomic
from aigid.detectors.training import parallel
from aigid.detectors.training.plan import Learner, Plan, Position, Stateful


@dataclass
class Progress:
    """Where a run stands; with the states of its parts it is a checkpoint."""

    epoch: int = 0
    step: int = 0  # of the epoch, done
    sums: dict[str, float] = field(default_factory=dict)  # of the loss's terms, over the epoch's steps
    log: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -math.inf
    best: dict[str, Tensor] | None = None  # the weights of the best epoch


class Run:
    """A plan under way, taken up from its checkpoint if there is one."""

    def __init__(self, plan: Plan, learner: Learner, path: Path) -> None:
        self.plan, self.learner, self.path = plan, learner, path
        self.device = next(learner.net.parameters()).device
        self.mixed = plan.mixed and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        self.progress = Progress()
        self.frozen = {name for name, value in learner.net.named_parameters() if not value.requires_grad}
        if plan.batch_size % parallel.world():
            raise InputError(
                f"{plan.name}: batches of {plan.batch_size} cannot be shared by {parallel.world()} processes"
            )
        if parallel.world() > 1 and plan.num_items < plan.step_size:
            raise InputError(
                f"{plan.name}: {plan.num_items} items fill no step of {plan.step_size}, which processes could share"
            )
        self._resume()
        parallel.require_same((self.progress.epoch, self.progress.step), str(path), self.device)
        parallel.broadcast(learner.net)

    def steps(self) -> Iterator[tuple[Position, list[Any]]]:
        """The steps of this epoch that are still to do, each with the lessons of its passes."""
        plan, now = self.plan, self.progress
        order = seeding.generator(f"{plan.name} order", plan.seed, now.epoch).permutation(plan.num_items)
        silent = True if parallel.rank() else None
        with ThreadPoolExecutor(1) as ahead:
            made = ahead.submit(self._lessons, now.step, order)
            for step in tqdm(range(now.step, plan.num_steps), f"epoch {now.epoch + 1}", unit="step", disable=silent):
                found = made.result()
                if step + 1 < plan.num_steps:
                    made = ahead.submit(self._lessons, step + 1, order)
                yield found

    def _lessons(self, step: int, order: np.ndarray) -> tuple[Position, list[Any]]:
        plan, epoch = self.plan, self.progress.epoch
        here = Position(epoch, step, (epoch + step / plan.num_steps) / plan.epochs)
        items = np.array_split(order[step * plan.step_size : (step + 1) * plan.step_size], plan.accumulate)
        mine = [np.array_split(part, parallel.world())[parallel.rank()] for part in items]
        return here, [self.learner.lesson(here, part) for part in mine]

    def step(self, here: Position, passes: list[Any]) -> None:
        """One step of the optimizer."""
        plan, rank = self.plan, [parallel.rank()] if parallel.rank() else []
        torch.manual_seed(seeding.seed_of(f"{plan.name} step", plan.seed, here.epoch, here.step, *rank))
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

    def _note(self, here: Position, names: list[str], passes: Tensor) -> None:
        """Add a step's terms (passes, terms) to the epoch's; InputError where one is no number."""
        parallel.average([passes])
        sums, sums_so_far = passes.cpu().double().sum(dim=0), self.progress.sums
        for name, value in zip(names, sums.tolist(), strict=True):
            if not math.isfinite(value):
                self._stop(here, f"{name} is {value}")
            sums_so_far[name] = sums_so_far.get(name, 0.0) + value

    def _descend(self, here: Position) -> None:
        learner = self.learner
        gradients = [value.grad for value in learner.net.parameters() if value.grad is not None]
        parallel.average(gradients)
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

    def _stop(self, here: Position, why: str) -> None:
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
        if parallel.rank() == 0:
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
        if parallel.rank() == 0:
            state = {"progress": vars(self.progress), "net": self.weights()}
            with atomic(self.path) as part:
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
