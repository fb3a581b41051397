"""Train the network; a run that was killed goes on from its last checkpoint, to the same weights on a CPU."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from aigid import seeding
from aigid.detectors.cnn.samples import Samples
from aigid.detectors.cnn.settings import CnnSettings
from aigid.files import atomic

SECONDS = 30.0  # between checkpoints
EVAL_BATCH = 256
LOG = ("epoch", "learning_rate", "train_loss", "val_loss", "val_acc", "val_f1_macro")


@dataclass
class Progress:
    """Where a run stands; with the states of network and optimizer it is a checkpoint."""

    epoch: int = 0
    step: int = 0  # of the epoch, done
    loss: float = 0.0  # summed over the epoch's steps
    log: list[list[float]] = field(default_factory=list)
    best_f1: float = -1.0
    best: dict[str, torch.Tensor] | None = None  # the weights of the best epoch


def train(
    net: nn.Module,
    settings: CnnSettings,
    train: Samples,
    val: Samples,
    seed: int,
    checkpoint: Path,
    seconds: float = SECONDS,
) -> list[list[float]]:
    """Give ``net`` the weights of the epoch with the best validation macro-F1; the log, a row of ``LOG`` an epoch.

    All randomness of a step comes from the seed, the epoch and the step, so that a checkpoint holds none.
    """
    run = _Run(net, settings, train, seed)
    run.resume(checkpoint)
    now = run.progress
    saved = time.monotonic()
    while now.epoch < settings.epochs:
        for step, places in run.steps():
            now.loss += run.step(step, places)
            now.step = step + 1
            if time.monotonic() - saved >= seconds:
                run.save(checkpoint)
                saved = time.monotonic()
        _close_epoch(run, val)
        run.save(checkpoint)
        saved = time.monotonic()
    net.load_state_dict(now.best)
    checkpoint.unlink(missing_ok=True)
    return now.log


def _close_epoch(run: "_Run", val: Samples) -> None:
    now = run.progress
    logits = predict(run.net, val, np.arange(len(val)))
    f1 = float(f1_score(val.y, logits.argmax(1), average="macro"))
    loss = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.y)))
    accuracy = float((logits.argmax(1) == val.y).mean())
    rate = run.optimizer.param_groups[0]["lr"]
    now.log.append([now.epoch + 1, rate, now.loss / run.num_steps, loss, accuracy, f1])
    tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in zip(LOG, now.log[-1], strict=True)), file=sys.stderr)
    if f1 > now.best_f1:
        now.best_f1, now.best = f1, {name: value.clone() for name, value in run.net.state_dict().items()}
    now.epoch, now.step, now.loss = now.epoch + 1, 0, 0.0


class _Run:
    """Network, optimizer, schedule and scaler of one run."""

    def __init__(self, net: nn.Module, settings: CnnSettings, train: Samples, seed: int) -> None:
        self.net, self.settings, self.train, self.seed = net, settings, train, seed
        self.device = next(net.parameters()).device
        self.mixed = settings.precision == "mixed" and self.device.type == "cuda"
        self.num_steps = max(len(train) // (settings.batch_size * settings.accumulate), 1)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
        self.optimizer = kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = self._schedule()
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.mixed)
        self.progress = Progress()

    def _schedule(self) -> torch.optim.lr_scheduler.LRScheduler:
        if self.settings.schedule == "constant":
            return torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)
        total = self.num_steps * self.settings.epochs + 1
        return torch.optim.lr_scheduler.OneCycleLR(self.optimizer, self.settings.learning_rate, total, pct_start=0.2)

    def steps(self) -> Iterator[tuple[int, np.ndarray]]:
        """The steps of this epoch that are still to do, each with its images."""
        order = seeding.generator("cnn order", self.seed, self.progress.epoch).permutation(len(self.train))
        size = self.settings.batch_size * self.settings.accumulate
        todo = range(self.progress.step, self.num_steps)
        for step in tqdm(todo, desc=f"epoch {self.progress.epoch + 1}", unit="step", disable=None):
            yield step, order[step * size : (step + 1) * size]

    def step(self, step: int, places: np.ndarray) -> float:
        """One step of the optimizer; its mean loss."""
        epoch = self.progress.epoch
        torch.manual_seed(seeding.seed_of("cnn step", self.seed, epoch, step))
        self.net.train(epoch == 0 or "frozen_after_first_epoch" not in self.settings.compat)
        total = 0.0
        for part in np.array_split(places, self.settings.accumulate):
            pixels = to_float(self.train.take(part), self.device)
            if self.settings.mirror:
                turned = torch.rand(len(part)) < 0.5
                pixels[turned] = pixels[turned].flip(-1)
            y = torch.from_numpy(self.train.y[part]).to(self.device)
            with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
                loss = functional.cross_entropy(self.net(pixels), y) / self.settings.accumulate
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.schedule.step()
        return total

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically."""
        with atomic(path) as part:
            torch.save({"progress": vars(self.progress)} | {k: v.state_dict() for k, v in self._parts().items()}, part)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint if there is one."""
        if path.is_file():
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.progress = Progress(**saved["progress"])
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"net": self.net, "optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler}
        return {name: part for name, part in parts.items() if name != "scaler" or self.mixed}


@torch.inference_mode()
def predict(net: nn.Module, samples: Samples, places: np.ndarray) -> np.ndarray:
    """Logits (n, K) float32 of the images at ``places``."""
    net.eval()
    device = next(net.parameters()).device
    blocks = [places[start : start + EVAL_BATCH] for start in range(0, len(places), EVAL_BATCH)]
    return np.concatenate([net(to_float(samples.take(block), device)).float().cpu().numpy() for block in blocks])


def to_float(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """(n, C, S, S) uint8 to float32 in [-1, 1] on the device, channels last."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(device, memory_format=torch.channels_last)
    return pixels.float() / 127.5 - 1
